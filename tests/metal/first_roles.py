"""A deploy file for tests: the first roles of the site, or those of them that `--data first=` names."""

from pyinfra import host

from roles.base.deploy import base
from roles.ops.site import start_site
from roles.storage.deploy import storage
from roles.swap.deploy import swap

if start_site():
    wanted = [one for one in str(host.data.get("first") or "").split(",") if one]
    for name, role in (("base", base), ("storage", storage), ("swap", swap)):
        if not wanted or name in wanted:
            role()
