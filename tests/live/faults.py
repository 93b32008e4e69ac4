"""Breaks one part of one node, and says when: a shell on the node notes the time right before."""

from collections.abc import Callable
from functools import partial

from tests.live.site import on, read_agent

Fault = Callable[[], float]


def strike(node: str, command: str) -> float:
    """Runs a shell command there; Unix seconds right before. All lab servers share this machine's clock."""
    return float(on(node, f"date +%s.%N; {{ {command}; }} >/dev/null").splitlines()[0])


def signal_engine(node: str, signal: str) -> float:
    """A signal for the Triton that has the traffic, and for nothing else."""
    return strike(node, f"kill -{signal} {get_pid(node, f'triton@{find_slot(node)}')}")


def signal_gateway(node: str, signal: str) -> float:
    """A signal for the gateway."""
    return strike(node, f"kill -{signal} {get_pid(node, 'dsops-gateway')}")


def get_pid(node: str, unit: str) -> int:
    """The unit's main process; the test fails when it does not run."""
    pid = int(on(node, f"systemctl show --property=MainPID --value {unit}"))
    assert pid > 1, f"{unit} does not run on {node}"
    return pid


def make_ill(node: str, words: str) -> float:
    """What the release with the traffic suffers from now on; it must be one of tests/live/ills."""
    return strike(node, f"echo {words} > /var/cache/dsops-triton/{find_slot(node)}/ill")


def find_slot(node: str) -> str:
    """The slot with the traffic."""
    slot = str(read_agent(node)["slot"])
    assert slot in ("a", "b"), f"{node} has no slot with traffic"
    return slot


def killed(node: str) -> Fault:
    return partial(signal_engine, node, "KILL")


def stopped(node: str) -> Fault:
    return partial(signal_engine, node, "STOP")


def ill(node: str, words: str) -> Fault:
    return partial(make_ill, node, words)


def gateway_stopped(node: str) -> Fault:
    return partial(signal_gateway, node, "STOP")
