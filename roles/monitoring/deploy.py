"""Monitoring: Prometheus and Alertmanager behind a password and TLS, scraping every server."""

from pathlib import Path

from pyinfra.api import deploy

from roles.agent.defaults import Agent
from roles.gateway.defaults import Gateway
from roles.monitoring.defaults import Monitoring
from roles.nginx.defaults import Nginx
from roles.ops.files import Owner, config_file, folders, render
from roles.ops.packages import install_packages
from roles.ops.site import group_value, servers, settings
from roles.ops.units import unit

HERE = Path(__file__).parent
ETC = "/etc/prometheus"
SECRET = Owner("640", "root", "prometheus")


@deploy("monitoring")
def monitoring() -> None:
    """Runs both on this server. Their configuration is checked by their own tools before it takes effect."""
    said = settings(Monitoring)
    install_packages(role="monitoring")
    folders(name="monitoring: folders", wanted={f"{ETC}/tls": Owner("750", "root", "prometheus")})
    _install_secrets(said)
    rules = (HERE / "templates/rules.yml").read_text()
    check = "promtool check rules {} >/dev/null"
    config_file(name="monitoring: rules", path=f"{ETC}/dsops-rules.yml", content=rules, check=check)
    config = render(HERE / "templates/prometheus.yml.j2", said=said, targets=read_targets())
    check = "promtool check config {} >/dev/null"
    config_file(name="monitoring: prometheus", path=f"{ETC}/prometheus.yml", content=config, owner=SECRET, check=check)
    alerts = (HERE / "templates/alertmanager.yml").read_text()
    check = "amtool check-config {} >/dev/null"
    config_file(
        name="monitoring: alertmanager", path=f"{ETC}/alertmanager.yml", content=alerts, owner=SECRET, check=check
    )
    for name in ("prometheus", "prometheus-alertmanager"):
        defaults = render(HERE / f"templates/{name}.j2", said=said)
        config_file(name=f"monitoring: {name}'s flags", path=f"/etc/default/{name}", content=defaults)
    files = [f"{ETC}/web.yml", f"{ETC}/tls/cert.pem", f"{ETC}/tls/key.pem"]
    inputs = [f"{ETC}/prometheus.yml", f"{ETC}/dsops-rules.yml", f"{ETC}/password", "/etc/default/prometheus", *files]
    unit(name="monitoring: prometheus running", unit_name="prometheus.service", inputs=inputs)
    inputs = [f"{ETC}/alertmanager.yml", "/etc/default/prometheus-alertmanager", *files]
    unit(name="monitoring: alertmanager running", unit_name="prometheus-alertmanager.service", inputs=inputs)


def read_targets() -> dict[str, list[tuple[str, str]]]:
    """job -> (server's name, address:port), for every server of the inventory."""
    gateway = group_value("gpu", "gateway_admin_port", Gateway.gateway_admin_port)
    balancer = group_value("lb", "nginx_balancer_port", Nginx.nginx_balancer_port)
    agent = settings(Agent).dsops_agent_port
    gpu, lb = servers("gpu"), servers("lb")
    return {
        "agent": [(name, f"{address}:{agent}") for name, address in servers()],
        "gateway": [(name, f"{address}:{gateway}") for name, address in gpu],
        "slot": [(name, f"{address}:{agent}") for name, address in gpu],
        "balancer": [(name, f"{address}:{balancer}") for name, address in lb],
    }


def _install_secrets(said: Monitoring) -> None:
    users = Path(said.monitoring_users_file).read_text()
    web = render(HERE / "templates/web.yml.j2", users=[line.split(":", 1) for line in users.split()])
    password = Path(said.monitoring_password_file).read_bytes()
    files: dict[str, str | bytes] = {
        "tls/cert.pem": Path(said.monitoring_tls_cert_file).read_bytes(),
        "tls/key.pem": Path(said.monitoring_tls_key_file).read_bytes(),
        "web.yml": web,
        "password": password,
    }
    for name, content in files.items():
        config_file(name=f"monitoring: {name}", path=f"{ETC}/{name}", content=content, owner=SECRET)
