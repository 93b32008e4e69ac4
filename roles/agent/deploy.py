"""Agent: the read-only view of a server, on every one of them."""

from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy

from roles.agent.defaults import Agent
from roles.ops.accounts import account
from roles.ops.files import Owner, config_file, render
from roles.ops.site import settings
from roles.ops.units import unit

HERE = Path(__file__).parent
CONFIG = "/etc/dsops/agent.toml"
# What a server is for, and the units that must run for it.
ROLES = {
    "gpu": ("dsops-gateway.service",),
    "lb": ("nginx.service", "dsops-balancer.service"),
    "mon": ("prometheus.service", "prometheus-alertmanager.service"),
}


def role_of(groups: list[str]) -> str:
    """The first of the known groups that a server is in; `none` otherwise."""
    return next((name for name in ROLES if name in groups), "none")


@deploy("agent")
def agent() -> None:
    """Runs dsops-agent.service. Comes last: it watches the units of the other roles."""
    said = settings(Agent)
    role = role_of(host.groups)
    # The gateway's local socket is its group's; the agent only asks it for its status.
    groups = ("dsops-gateway",) if role == "gpu" else ()
    account(name="agent: account", user="dsops-agent", home="/nonexistent", groups=groups)
    values = {"node": host.name, "role": role, "units": ROLES.get(role, ()), "said": said}
    config = render(HERE / "templates/agent.toml.j2", **values)
    check = "/opt/dsops/venv/bin/python -m dsops.node.agent --check --config {}"
    config_file(name="agent: configuration", path=CONFIG, content=config, check=check)
    service = render(HERE / "templates/dsops-agent.service.j2", gpu=role == "gpu")
    path = "/etc/systemd/system/dsops-agent.service"
    config_file(name="agent: unit", path=path, content=service, owner=Owner())
    unit(name="agent: running", unit_name="dsops-agent.service", inputs=[CONFIG, "/opt/dsops/venv"])
