"""Is the inventory right: every key known, given and of its type, every server somebody's?"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from dsops.control.doctor.finding import Finding, from_error, ok, problem, skipped
from dsops.control.doctor.site import PLACES, Site
from dsops.control.fleet.inventory import CONTROL_KEYS, ROLES, Server
from dsops.core.decode import suggest
from dsops.core.errors import DsopsError

# pyinfra's own keys for SSH; a test holds them to the pinned pyinfra.
SSH_KEYS = (
    "ssh_hostname",
    "ssh_port",
    "ssh_user",
    "ssh_password",
    "ssh_key",
    "ssh_key_password",
    "ssh_allow_agent",
    "ssh_look_for_keys",
    "ssh_forward_agent",
    "ssh_config_file",
    "ssh_known_hosts_file",
    "ssh_strict_host_key_checking",
    "ssh_paramiko_connect_kwargs",
    "ssh_connect_retries",
    "ssh_connect_retry_min_delay",
    "ssh_connect_retry_max_delay",
    "ssh_file_transfer_protocol",
)
# Without these pyinfra and dsops cannot reach a server in a way that is safe.
SSH_REQUIRED = ("ssh_key", "ssh_known_hosts_file")
KINDS = {
    "int": "a whole number",
    "str": "text",
    "bool": "True or False",
    "float": "a number",
    "tuple[str, ...]": "a list of texts",
}
# What roles/preflight may do with a problem.
LEVELS = ("refuse", "warn")
# pyinfra's ways to become another user; the roles' own channel does not go through them.
OTHER_USERS = ("_sudo", "_sudo_user", "_su_user", "_doas", "_doas_user")
# Keys that may be empty, and what is then missing.
OPTIONAL = {
    "dsops_ssh_key": "`dsops drain`, `undrain` and `logs` cannot reach the servers",
    "dsops_public_key_file": "the servers get no door for `dsops drain`, `undrain` and `logs`",
    "dsops_endpoint": "`dsops ask` does not know where the service is",
    "dsops_ca_file": "`dsops ask` trusts the system's CAs only, and `dsops secrets` has no folder for its own",
    "dsops_api_key_file": "`dsops ask` has no key to ask with",
    "base_ntp_servers": "nobody keeps the servers' clocks together",
}


def check_inventory(site: Site) -> list[Finding]:
    """All that can be said without looking anywhere else."""
    checks = (check_keys, check_values, check_connection, check_servers, check_optional)
    return [finding for check in checks for finding in check(site)]


def check_keys(site: Site) -> list[Finding]:
    """A key that nothing reads is a misspelt one. Underscores are pyinfra's (`_sudo`)."""
    known = {*site.keys, *SSH_KEYS, *CONTROL_KEYS}
    own = {key for server in site.fleet.servers for key in server.data if key.startswith("_")}
    wrong = [from_error("keys", error) for error in site.fleet.check_keys(known | own)]
    return wrong or [ok("keys", "inventory", f"every key is one of the {len(known)} that are read")]


def check_values(site: Site) -> list[Finding]:
    """Required keys are there, and values are of the roles' types."""
    found = [_check_value(site, server, name) for server in site.fleet.servers for name in site.keys]
    wrong = _distinct(finding for finding in found if finding)
    wrong += [finding for server in site.fleet.servers for finding in check_level(site, server)]
    return wrong or [ok("values", "inventory", "nothing that the roles need is missing, and every type is right")]


def check_level(site: Site, server: Server) -> list[Finding]:
    """What the preflight does with this server's problems."""
    level = site.value(server, "preflight")
    if level in LEVELS:
        return []
    return [problem("preflight", server.name, f"preflight is {level!r}", mend='write "refuse" or "warn"')]


def _check_value(site: Site, server: Server, name: str) -> Finding | None:
    key = site.keys[name]
    if name not in server.data:
        if not key.is_required or not site.has_role(server, key.role):
            return None
        mend = f"set {name} in {_group_data(site)}; `dsops init` writes an example with every key"
        return problem("values", server.name, f"{name} must be given (role {key.role})", mend=mend)
    value = server.data[name]
    if is_kind(value, key.kind):
        return None
    what = f"{name} should be {KINDS.get(key.kind, key.kind)}, is {value!r}"
    return problem("values", site.fleet.key_places.get(name, server.where), what, mend=f"mend {name}")


def is_kind(value: Any, kind: str) -> bool:
    """Whether a value fits an annotation, as roles/ops/settings.py judges it."""
    if kind == "tuple[str, ...]":
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if kind == "float":
        return isinstance(value, int | float) and not isinstance(value, bool)
    plain = {"int": int, "str": str, "bool": bool}.get(kind)
    return plain is None or type(value) is plain


def check_connection(site: Site) -> list[Finding]:
    """Host keys are pinned, and a key is named: nothing is asked, and nothing is learnt on the way."""
    wrong = []
    for server in site.fleet.servers:
        for name in SSH_REQUIRED:
            if not server.data.get(name):
                mend = f"set {name} in {_group_data(site)}"
                wrong.append(problem("connection", server.name, f"{name} must be given", mend=mend))
        others = [key for key in OTHER_USERS if server.data.get(key)]
        if server.data.get("ssh_user") != "root" or others:
            what = f"the roles log in as root, not as another user{_via(others)}"
            mend = f"write ssh_user = 'root' in {_group_data(site)}" + (", and remove the others" if others else "")
            wrong.append(problem("connection", server.name, what, mend=mend))
        if server.data.get("ssh_strict_host_key_checking") != "yes":
            what = "ssh_strict_host_key_checking is not 'yes': pyinfra would trust any machine that answers"
            mend = f"write ssh_strict_host_key_checking = 'yes' in {_group_data(site)}"
            wrong.append(problem("connection", server.name, what, mend=mend))
    return wrong or [ok("connection", "inventory", "as root, with a key, and to pinned host keys only")]


def check_servers(site: Site) -> list[Finding]:
    """Every server is in a group that deploy/site.py knows, and no two are one."""
    groups = sorted({group for group in PLACES.values() if group})
    wrong = []
    for server in site.fleet.servers:
        if not set(groups) & set(server.groups):
            what = f"{server.name} is in no group that gets a role (its groups: {', '.join(server.groups) or 'none'})"
            mend = suggest(server.groups[0], groups) if server.groups else f"put it into {', '.join(groups)}"
            wrong.append(problem("servers", server.where, what, mend=mend))
        elif server.data.get("dsops_role") not in (None, "", *ROLES):
            mend = suggest(str(server.data["dsops_role"]), list(ROLES))
            wrong.append(problem("servers", server.where, "dsops_role names no role", mend=mend))
    wrong += _check_addresses(site)
    return wrong or [ok("servers", "inventory", "each has an address of its own, and a role")]


def _check_addresses(site: Site) -> list[Finding]:
    held: dict[tuple[str, int], list[str]] = defaultdict(list)
    for server in site.fleet.servers:
        try:
            held[server.address, server.ssh_port].append(server.name)
        except DsopsError as error:
            return [from_error("servers", error)]
    twice = [(address, names) for (address, _), names in held.items() if len(names) > 1]
    return [
        problem("servers", str(site.fleet.path), f"{', '.join(names)} have one address, {address}", mend="mend one")
        for address, names in twice
    ]


def check_optional(site: Site) -> list[Finding]:
    """What works less well because the inventory is silent. A choice, so no problem."""
    wanted = {name: text for name, text in OPTIONAL.items() if name in site.keys}
    empty = [name for name in wanted if not any(site.value(server, name) for server in site.fleet.servers)]
    return [skipped("optional", name, f"not given: {wanted[name]}", mend=f"set {name}, if wanted") for name in empty]


def _via(keys: list[str]) -> str:
    return f" ({', '.join(keys)})" if keys else ""


def _group_data(site: Site) -> str:
    return f"{site.fleet.path.parent / 'group_data' / site.fleet.path.name}"


def _distinct(findings: Iterable[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))
