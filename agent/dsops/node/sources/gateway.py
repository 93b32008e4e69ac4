"""Reads the gateway's local control socket, and tells it to take traffic away or let it in again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.samples import Samples
from dsops.node.sources.http import Answer, Target, fetch, get


@dataclass(frozen=True)
class Ejected:
    """Why the gateway refuses for now, and who told it to."""

    reason: str
    who: str


@dataclass(frozen=True)
class SlotTraffic:
    """What the gateway sees of one slot. tokens: all that it relayed; idle_seconds: since the last one, under load."""

    in_flight: int | None = None
    tokens: float | None = None
    idle_seconds: float | None = None


@dataclass(frozen=True)
class GatewayStatus:
    """What the gateway says of itself. reason is why nothing is known, "" when it answered."""

    reason: str = ""
    drained: str | None = None
    ejected: Ejected | None = None
    in_flight: int | None = None
    tokens_per_second: float | None = None
    p99_seconds: float | None = None
    slots: Mapping[str, SlotTraffic] = field(default_factory=dict)

    def find_slot(self, name: str) -> SlotTraffic:
        """What it says of one slot; nothing when it says nothing."""
        return self.slots.get(name, SlotTraffic())


async def read_gateway(socket: Path, *, timeout: float) -> Answer:
    """GET /status on the control socket."""
    return await get(Target("/status", socket=socket), timeout=timeout)


async def read_samples(socket: Path, *, timeout: float) -> Samples:
    """What clients' requests to each release came to. Raises DsopsError when the gateway does not say."""
    answer = await get(Target("/v1/samples", socket=socket), timeout=timeout)
    if not answer.is_ok:
        raise DsopsError(f"the gateway does not say what it counted: {answer.says}", where=str(socket))
    return Samples.from_json(answer.body, where=str(socket))


async def eject(socket: Path, *, reason: str, who: str, timeout: float) -> Answer:
    """No traffic from now on; what is in flight goes on."""
    body = {"reason": reason, "who": who}
    return await fetch(Target("/eject", socket=socket), timeout=timeout, method="POST", body=body)


async def admit(socket: Path, *, who: str, timeout: float) -> Answer:
    """Ends the ejection."""
    return await fetch(Target("/admit", socket=socket), timeout=timeout, method="POST", body={"who": who})


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
    slots = data.get("slots")
    return GatewayStatus(
        drained=find_drained(data.get("drained")),
        ejected=find_ejected(data.get("ejected")),
        in_flight=_find_whole(data.get("in_flight")),
        tokens_per_second=_find_number(data.get("tokens_per_second")),
        p99_seconds=_find_number(data.get("p99_seconds")),
        slots={name: _read_slot(one) for name, one in slots.items()} if isinstance(slots, dict) else {},
    )


def find_drained(record: object) -> str | None:
    """Why the node is drained and who did it, from {reason, who}; None when it is not."""
    if not record:
        return None
    fields = record if isinstance(record, dict) else {}
    reason, who = fields.get("reason") or "no reason given", fields.get("who")
    return f"{reason} ({who})" if who else str(reason)


def find_ejected(record: object) -> Ejected | None:
    """From {reason, who}; None when traffic may come."""
    if not isinstance(record, dict):
        return None
    return Ejected(str(record.get("reason") or "no reason given"), str(record.get("who") or ""))


def _read_slot(data: object) -> SlotTraffic:
    fields = data if isinstance(data, dict) else {}
    return SlotTraffic(
        _find_whole(fields.get("in_flight")),
        _find_number(fields.get("tokens")),
        _find_number(fields.get("idle_seconds")),
    )


def _find_whole(value: object) -> int | None:
    return value if type(value) is int else None


def _find_number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
