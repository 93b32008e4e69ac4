"""Nginx: TLS, one static configuration, every node behind a link; and the balancer loop that keeps the links true."""

from pathlib import Path

from pyinfra.api import deploy

from roles.gateway.defaults import Gateway
from roles.nginx.defaults import Nginx
from roles.ops.accounts import account
from roles.ops.files import Owner, config_file, folders, render
from roles.ops.packages import install_packages
from roles.ops.site import group_value, servers, settings
from roles.ops.units import unit

HERE = Path(__file__).parent
CONF = "/etc/nginx/nginx.conf"
TLS = "/etc/nginx/tls"
DROP_IN = "/etc/systemd/system/nginx.service.d"
BALANCER = "/etc/dsops/balancer.toml"


@deploy("nginx")
def nginx() -> None:
    """Serves the fleet's gpu servers under one address."""
    said = settings(Nginx)
    port = group_value("gpu", "gateway_port", Gateway.gateway_port)
    admin = group_value("gpu", "gateway_admin_port", Gateway.gateway_admin_port)
    nodes = servers("gpu")
    account(name="nginx: account of the balancer", user="dsops-balancer", home="/nonexistent")
    folders(name="nginx: folders", wanted={"/etc/nginx": Owner("755"), TLS: Owner("700"), DROP_IN: Owner("755")})
    config_file(
        name="nginx: runtime folders",
        path="/etc/tmpfiles.d/dsops-lb.conf",
        content=(HERE / "templates/dsops-lb.conf").read_text(),
    )
    runtime = {
        "/run/dsops-lb": Owner("755"),
        "/run/dsops-lb/inner": Owner("755"),
        "/run/dsops-lb/nodes": Owner("755", "dsops-balancer", "dsops-balancer"),
    }
    folders(name="nginx: runtime folders now", wanted=runtime)
    drop_in = (HERE / "templates/nginx.service.conf").read_text()
    config_file(name="nginx: unit's drop-in", path=f"{DROP_IN}/dsops.conf", content=drop_in)
    _install_certificate(said)
    install_packages(role="nginx")
    config = render(HERE / "templates/nginx.conf.j2", said=said, nodes=nodes, port=port)
    config_file(name="nginx: configuration", path=CONF, content=config, check="nginx -t -q -c {}")
    unit(name="nginx: running", unit_name="nginx.service", inputs=[CONF, f"{TLS}/cert.pem"], reload=True)
    _run_balancer(said, nodes, port, admin)


def _install_certificate(said: Nginx) -> None:
    for name, local in (("key.pem", said.nginx_tls_key_file), ("cert.pem", said.nginx_tls_cert_file)):
        content = Path(local).read_bytes()
        config_file(name=f"nginx: {name}", path=f"{TLS}/{name}", content=content, owner=Owner("600"))


def _run_balancer(said: Nginx, nodes: list[tuple[str, str]], port: int, admin: int) -> None:
    config = render(HERE / "templates/balancer.toml.j2", said=said, nodes=nodes, port=port, admin=admin)
    check = "/opt/dsops/venv/bin/python -m dsops.node.balancer --check --config {}"
    config_file(name="nginx: balancer's configuration", path=BALANCER, content=config, check=check)
    service = (HERE / "templates/dsops-balancer.service").read_text()
    path = "/etc/systemd/system/dsops-balancer.service"
    config_file(name="nginx: balancer's unit", path=path, content=service)
    unit(name="nginx: balancer running", unit_name="dsops-balancer.service", inputs=[BALANCER, "/opt/dsops/venv"])
