"""Gateway: the OpenAI-compatible door in front of the slots."""

from pathlib import Path

from pyinfra.api import deploy

from roles.gateway.defaults import Gateway
from roles.ops.accounts import account
from roles.ops.files import Owner, config_file, folders, render
from roles.ops.health import answers
from roles.ops.site import settings
from roles.ops.units import unit

HERE = Path(__file__).parent
CONFIG = "/etc/dsops/gateway.toml"
KEYS = "/etc/dsops/api-keys"
UNIT = "/etc/systemd/system/dsops-gateway.service"


@deploy("gateway")
def gateway() -> None:
    """Runs dsops-gateway.service and waits until it answers."""
    said = settings(Gateway)
    account(name="gateway: account", user="dsops-gateway", home="/nonexistent")
    # The operators' door speaks to the gateway's local socket, for drain and undrain.
    account(
        name="gateway: the door's group",
        user="dsops",
        home="/var/lib/dsops-door",
        shell="/bin/sh",
        groups=("dsops-gateway",),
    )
    state = {"/var/lib/dsops/state/gateway": Owner("750", "dsops-gateway", "dsops-gateway")}
    folders(name="gateway: state", wanted=state)
    keys = Path(said.gateway_api_keys_file).read_bytes()
    config_file(name="gateway: API keys", path=KEYS, content=keys, owner=Owner("640", "root", "dsops-gateway"))
    config = render(HERE / "templates/gateway.toml.j2", said=said, keys=KEYS)
    check = "/opt/dsops/venv/bin/python -m dsops.node.gateway --check --config {}"
    config_file(name="gateway: configuration", path=CONFIG, content=config, check=check)
    config_file(name="gateway: unit", path=UNIT, content=render(HERE / "templates/dsops-gateway.service.j2"))
    unit(name="gateway: running", unit_name="dsops-gateway.service", inputs=[CONFIG, "/opt/dsops/venv"], _serial=True)
    # /metrics, not /healthz: a drained node's gateway is well and says 503 there.
    alive = f"http://127.0.0.1:{said.gateway_admin_port}/metrics"
    answers(name="gateway: answers", url=alive, unit="dsops-gateway.service", seconds=30)
