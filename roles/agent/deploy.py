"""Agent: watches a server and shows what it sees; on gpu servers it also acts, through gateway and helper."""

from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy

from roles.agent.defaults import Agent
from roles.ops.accounts import account
from roles.ops.files import Owner, config_file, render
from roles.ops.site import group_value, servers, settings
from roles.ops.units import unit

HERE = Path(__file__).parent
CONFIG = "/etc/dsops/agent.toml"
KMSG = "/dev/kmsg"
# Of the role helper: how long a release is on trial, and how much dsops may do by itself.
STORE = "/etc/dsops/store.toml"
# What a server is for, and the units that must run for it.
ROLES = {
    "gpu": ("dsops-gateway.service",),
    "lb": ("nginx.service", "dsops-balancer.service"),
    "mon": ("prometheus.service", "prometheus-alertmanager.service"),
}


def role_of(groups: list[str]) -> str:
    """The first of the known groups that a server is in; `none` otherwise."""
    return next((name for name in ROLES if name in groups), "none")


def find_peers(name: str) -> list[tuple[str, str]]:
    """(name, host:port) of the other gpu servers' agents."""
    port = group_value("gpu", "dsops_agent_port", Agent.dsops_agent_port)
    others = [(other, address) for other, address in servers("gpu") if other != name]
    return [(other, f"[{address}]:{port}" if ":" in address else f"{address}:{port}") for other, address in others]


@deploy("agent")
def agent() -> None:
    """Runs dsops-agent.service. Comes last: it watches the units of the other roles."""
    said = settings(Agent)
    role = role_of(host.groups)
    # The local sockets of gateway and helper are their groups'; what an agent may ask there they decide themselves.
    groups = ("dsops-gateway", "dsops-store") if role == "gpu" else ()
    account(name="agent: account", user="dsops-agent", home="/nonexistent", groups=groups)
    peers = find_peers(host.name) if role == "gpu" else []
    values = {"node": host.name, "role": role, "units": ROLES.get(role, ()), "said": said, "peers": peers}
    config = render(HERE / "templates/agent.toml.j2", **values)
    check = "/opt/dsops/venv/bin/python -m dsops.node.agent --check --config {}"
    config_file(name="agent: configuration", path=CONFIG, content=config, check=check)
    is_gpu = role == "gpu"
    kmsg = is_gpu and said.agent_kernel_log == KMSG
    service = render(HERE / "templates/dsops-agent.service.j2", gpu=is_gpu, kmsg=kmsg)
    path = "/etc/systemd/system/dsops-agent.service"
    config_file(name="agent: unit", path=path, content=service, owner=Owner())
    unit(name="agent: running", unit_name="dsops-agent.service", inputs=[CONFIG, STORE, "/opt/dsops/venv"])
