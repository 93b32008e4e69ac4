"""Reads the gateway's local control socket."""

import json
from dataclasses import dataclass
from pathlib import Path

from dsops.node.sources.http import Answer, Target, get


@dataclass(frozen=True)
class GatewayStatus:
    """What the gateway says of itself. reason is why nothing is known, "" when it answered."""

    reason: str = ""
    drained: str | None = None
    in_flight: int | None = None
    tokens_per_second: float | None = None
    p99_seconds: float | None = None


async def read_gateway(socket: Path, *, timeout: float) -> Answer:
    """GET /status on the control socket."""
    return await get(Target("/status", socket=socket), timeout=timeout)


def judge_gateway(answer: Answer) -> GatewayStatus:
    """Pure. Unknown keys are the gateway's own affair; what is missing stays None."""
    if not answer.is_ok:
        return GatewayStatus(reason=f"the gateway's control socket: {answer.says}")
    try:
        data = json.loads(answer.body)
    except ValueError:
        return GatewayStatus(reason="the gateway's control socket did not answer JSON")
    if not isinstance(data, dict):
        return GatewayStatus(reason="the gateway's control socket did not answer an object")
    count = data.get("in_flight")
    return GatewayStatus(
        drained=find_drained(data.get("drained")),
        in_flight=count if type(count) is int else None,
        tokens_per_second=_find_number(data.get("tokens_per_second")),
        p99_seconds=_find_number(data.get("p99_seconds")),
    )


def find_drained(record: object) -> str | None:
    """Why the node is drained and who did it, from {reason, who}; None when it is not."""
    if not record:
        return None
    fields = record if isinstance(record, dict) else {}
    reason, who = fields.get("reason") or "no reason given", fields.get("who")
    return f"{reason} ({who})" if who else str(reason)


def _find_number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
