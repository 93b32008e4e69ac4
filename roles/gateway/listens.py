"""Where the gateway listens."""

from roles.gateway.defaults import Gateway
from roles.ops.listens import Listen

LISTENS = (
    Listen("gateway_port", Gateway.gateway_port, "gateway", on="gpu", reached_from=("lb", "control")),
    Listen(
        "gateway_admin_port",
        Gateway.gateway_admin_port,
        "gateway's metrics",
        on="gpu",
        reached_from=("lb", "mon", "control"),
    ),
)
