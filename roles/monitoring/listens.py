"""Where Prometheus and Alertmanager listen; they speak to each other over the loopback."""

from roles.monitoring.defaults import Monitoring
from roles.ops.listens import Listen

LISTENS = (
    Listen("monitoring_port", Monitoring.monitoring_port, "prometheus", on="mon", reached_from=("control",)),
    Listen(
        "monitoring_alertmanager_port",
        Monitoring.monitoring_alertmanager_port,
        "alertmanager",
        on="mon",
        reached_from=("control",),
    ),
)
