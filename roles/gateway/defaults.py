"""What the gateway role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gateway:
    """The OpenAI-compatible door of a gpu server."""

    # File on the control host with salted hashes of the API keys (`dsops key add` writes it).
    gateway_api_keys_file: str
    # The balancer comes from another server, Prometheus too; neither is loopback.
    gateway_port: int = 8080
    gateway_admin_port: int = 9411
    # Requests at once with the engine; one more is answered 429 with Retry-After.
    gateway_max_in_flight: int = 256
    # Longest answer, in seconds.
    gateway_deadline_seconds: int = 900
