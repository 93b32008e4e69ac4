"""What the monitoring role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Monitoring:
    """Prometheus and Alertmanager, behind a password and TLS."""

    # File on the control host: `user:bcrypt-hash`, one a line.
    monitoring_users_file: str
    # File on the control host with the password that Prometheus itself uses towards Alertmanager (user `prometheus`).
    monitoring_password_file: str
    # PEM files on the control host.
    monitoring_tls_cert_file: str
    monitoring_tls_key_file: str
    monitoring_port: int = 9090
    monitoring_alertmanager_port: int = 9093
    # How long figures are kept, as Prometheus writes times.
    monitoring_retention: str = "15d"
    monitoring_scrape_interval: str = "5s"
