"""A deploy file for tests: those of the first roles of the site that DSOPS_FIRST_ROLES names."""

import os

from roles.base.deploy import base
from roles.ops.site import start_site
from roles.rdma.deploy import rdma
from roles.storage.deploy import storage
from roles.swap.deploy import swap
from roles.system.deploy import system

if start_site():
    wanted = os.environ["DSOPS_FIRST_ROLES"].split()
    for name, role in (("base", base), ("storage", storage), ("swap", swap), ("system", system), ("rdma", rdma)):
        if name in wanted:
            role()
