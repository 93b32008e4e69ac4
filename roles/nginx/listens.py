"""Where nginx and the balancer listen."""

from roles.nginx.defaults import Nginx
from roles.ops.listens import Listen

LISTENS = (
    Listen("nginx_port", Nginx.nginx_port, "nginx", on="lb", reached_from=("clients", "control")),
    Listen("nginx_balancer_port", Nginx.nginx_balancer_port, "balancer", on="lb", reached_from=("mon", "control")),
)
