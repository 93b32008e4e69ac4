"""What the nginx role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Nginx:
    """The balancer's door. Certificate and key lie on the control host."""

    # PEM files: the server's chain, and its key. The site's own, or what `dsops secrets` makes.
    nginx_tls_cert_file: str
    nginx_tls_key_file: str
    nginx_server_name: str = "_"
    nginx_port: int = 443
    # The biggest request body, as nginx writes sizes.
    nginx_max_body: str = "8m"
    # Longest pause between two bytes of an answer, in seconds. Must be longer than the slowest first token.
    nginx_read_seconds: int = 900
    # A node that cannot be connected to within this is passed over, in milliseconds.
    nginx_connect_ms: int = 500
    # Where the balancer loop says what it did (JSON and metrics).
    nginx_balancer_port: int = 9412
