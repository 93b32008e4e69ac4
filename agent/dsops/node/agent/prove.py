"""Proves a release in a slot that has no traffic yet: it loads in time, and every golden answer is right.

Needs no running agent: the local door proves with it where the agent does not answer.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from dsops.core.prompts import Prompt, is_accepted
from dsops.core.status import Proof
from dsops.node.sources.golden import Golden
from dsops.node.sources.http import Failure, Target, get
from dsops.node.sources.probe import Heard, ask_gateway, ask_slot
from dsops.node.sources.slots import Ports
from dsops.node.sources.units import Unit

READY = "/v2/health/ready"
POLL_SECONDS = 0.2
CRASHES = 3
ATTEMPTS = 3
# systemd may take this long to begin a start that was asked for.
START_SECONDS = 90.0
TOO_MANY = 429


@dataclass(frozen=True)
class Refusal:
    """Why a release was not proven. lasting: its answers were wrong, so that waiting cannot mend it."""

    reason: str
    lasting: bool = False


@dataclass(frozen=True)
class Proving:
    """What a proof needs. find_unit: the slot's systemd unit now (blocking). gateway: its control socket, or None."""

    ports: Ports
    golden: Golden
    find_unit: Callable[[], Unit]
    gateway: Path | None = None
    gpus: tuple[str, ...] = ()
    ticks: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    pause: float = POLL_SECONDS


async def prove(proving: Proving) -> Proof | Refusal:
    """Waits until the slot is ready, asks every golden prompt to its end, then one through the gateway."""
    loaded = await wait_ready(proving)
    if isinstance(loaded, Refusal):
        return loaded
    answered = await ask_all(proving)
    if isinstance(answered, Refusal):
        return answered
    if refusal := await ask_through_gateway(proving):
        return refusal
    count = len(proving.golden.prompts)
    return Proof(proving.golden.release, proving.wall(), count, count, round(loaded, 3), answered, proving.gpus)


def render_evidence(proof: Proof) -> str:
    """A proof in one line, for the journal."""
    speed = f", {proof.tokens_per_second:.0f} tokens/s" if proof.tokens_per_second else ""
    return f"{proof.accepted} of {proof.prompts} golden answers right, loaded in {proof.load_seconds:.1f} s{speed}"


async def wait_ready(proving: Proving) -> float | Refusal:
    """The seconds that loading took."""
    limit, asked = float(proving.golden.probe.load_seconds), proving.ticks()
    first = 0.0
    while True:
        unit = await asyncio.to_thread(proving.find_unit)
        first = first or (unit.started if unit.pid else 0.0)
        answer = await get(Target(READY, port=proving.ports.http), timeout=1.0)
        now = proving.ticks()
        if answer.is_ok and unit.is_running:
            return max(0.0, now - (unit.started or asked))
        if unit.active in ("failed", "missing") or unit.restarts >= CRASHES:
            return Refusal(f"its Triton ended while it loaded: {unit.says}, started {unit.restarts} times again")
        if first and now - first > limit:
            return Refusal(f"it was not ready {limit:g} s after its start")
        if now - asked > max(limit, START_SECONDS):
            return Refusal(f"its Triton did not start: {unit.says}")
        await asyncio.sleep(proving.pause)


async def ask_all(proving: Proving) -> float | Refusal | None:
    """Tokens per second when every answer is right; None when the engine counts no tokens."""
    wrong: list[str] = []
    tokens, seconds = 0, 0.0
    for prompt in proving.golden.prompts:
        heard = await _ask(proving, prompt)
        if not heard.is_answer:
            return Refusal(f"golden prompt {prompt.id}: {heard.says}")
        if not is_accepted(prompt, heard.text, whole=heard.finish == "stop"):
            wrong.append(f"{prompt.id}: {heard.text[-60:]!r}")
        tokens, seconds = tokens + heard.tokens, seconds + heard.seconds
    if wrong:
        count = len(proving.golden.prompts)
        return Refusal(f"{len(wrong)} of {count} golden answers are wrong, {wrong[0]}", lasting=True)
    return round(tokens / seconds, 1) if tokens and seconds else None


async def ask_through_gateway(proving: Proving) -> Refusal | None:
    """One prompt the whole way. A gateway that is not there yet, or does not answer at all, proves nothing."""
    if proving.gateway is None or not proving.gateway.exists():
        return None
    prompt = proving.golden.prompts[0]
    for attempt in range(ATTEMPTS):
        heard = await ask_gateway(
            proving.gateway,
            prompt.prompt,
            model=proving.golden.model,
            tokens=prompt.tokens,
            timeout=find_patience(proving.golden, prompt),
            slot=proving.ports.name,
        )
        if heard.is_answer:
            is_right = is_accepted(prompt, heard.text, whole=heard.finish == "stop")
            wrong = f"its answer through the gateway is wrong, {prompt.id}: {heard.text[-60:]!r}"
            return None if is_right else Refusal(wrong, lasting=True)
        if attempt < ATTEMPTS - 1:
            await asyncio.sleep(proving.pause * 5)
    is_silent = heard.failure in (Failure.REFUSED, Failure.TIMEOUT) and not heard.status
    # The gateway may be full of what another release keeps waiting.
    return None if is_silent or heard.status == TOO_MANY else Refusal(f"no answer through the gateway: {heard.says}")


def find_patience(golden: Golden, prompt: Prompt) -> float:
    """Seconds that a whole answer may take, from what the release says of a probe's few tokens."""
    return float(golden.probe.answer_seconds * ceil(prompt.tokens / golden.probe.tokens))


async def _ask(proving: Proving, prompt: Prompt) -> Heard:
    """Once more after a failure that is no answer: the server may be busy with others."""
    patience = find_patience(proving.golden, prompt)
    for attempt in range(2):
        heard = await ask_slot(proving.ports.http, prompt.prompt, tokens=prompt.tokens, timeout=patience)
        if heard.is_answer or attempt:
            break
        await asyncio.sleep(proving.pause * 5)
    return heard
