"""Proves a release in a slot that has no traffic yet: it loads in time, every golden answer is right, and where it has
a passport for this hardware it is as quick as that says.

Needs no running agent: the local door proves with it where the agent does not answer.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from dsops.core.passport import Passport, find_unseen, judge_load, judge_rate
from dsops.core.prompts import Prompt, is_accepted
from dsops.core.status import Proof
from dsops.node.sources.gateway import judge_gateway, read_gateway
from dsops.node.sources.golden import Golden
from dsops.node.sources.http import Failure, Target, get
from dsops.node.sources.probe import Heard, ask_gateway, ask_slot
from dsops.node.sources.slots import Ports
from dsops.node.sources.units import Unit

READY = "/v2/health/ready"
SERVER = "/v2"
POLL_SECONDS = 0.2
LOOK_SECONDS = 1.0
# Whoever looks later than this after a start cannot say any more what the page cache held then.
SOON_SECONDS = 5.0
CRASHES = 3
ATTEMPTS = 3
# How often all prompts are asked at most, and how many rates that are too low make a refusal. The first pass after a
# start never does: an engine warms up with it (36 to 85 % of its later rate was measured on a CPU).
PASSES, TOO_LOW = 4, 2
# The agent's own probes of what serves are a few tokens now and then: so many looks may see something in flight.
NOISE = 0.25
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
    """What a proof needs. find_unit: the slot's systemd unit now (blocking). gateway: its control socket, or None.

    passport: what the release must meet here, None when there is none for this hardware, or it is the way back.
    find_cached: how much of the release the page cache holds now (blocking), None when nobody can say.
    """

    ports: Ports
    golden: Golden
    find_unit: Callable[[], Unit]
    gateway: Path | None = None
    gpus: tuple[str, ...] = ()
    passport: Passport | None = None
    find_cached: Callable[[], float | None] = lambda: None
    ticks: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    pause: float = POLL_SECONDS


@dataclass(frozen=True)
class Load:
    """How long loading took. watched: from its start, so that it did not take less, and did begin as it was seen."""

    seconds: float
    watched: bool


@dataclass(frozen=True)
class Pass:
    """All prompts once, all answered right. answers: which accepted answer each got. rate: tokens per second.

    quiet: nothing else was asked meanwhile, so that rates can be compared.
    """

    answers: tuple[int, ...]
    rate: float | None
    quiet: bool


async def prove(proving: Proving) -> Proof | Refusal:
    """Waits until the slot is ready, asks every golden prompt to its end, then one through the gateway.

    Against its passport: how long it loaded, and how quick it is, measured again before that is held against it.
    """
    cached = await asyncio.to_thread(proving.find_cached)
    loaded = await wait_ready(proving)
    if isinstance(loaded, Refusal):
        return loaded
    first = await ask_all(proving)
    if isinstance(first, Refusal):
        return first
    if refusal := await ask_through_gateway(proving):
        return refusal
    judged = await judge(proving, first, loaded=loaded, cached=cached)
    if isinstance(judged, Refusal):
        return judged
    count = len(proving.golden.prompts)
    return Proof(
        release=proving.golden.release,
        at=proving.wall(),
        accepted=count,
        prompts=count,
        load_seconds=round(loaded.seconds, 3),
        tokens_per_second=first.rate,
        gpus=proving.gpus,
        answers=first.answers,
        cached=cached,
        watched=loaded.watched,
        quiet=first.quiet,
        engine_version=await find_version(proving.ports),
        judged=judged,
    )


def render_evidence(proof: Proof) -> str:
    """A proof in one line, for the journal."""
    speed = f", {proof.tokens_per_second:.0f} tokens/s" if proof.tokens_per_second else ""
    judged = f"; {proof.judged}" if proof.judged else ""
    return (
        f"{proof.accepted} of {proof.prompts} golden answers right, loaded in {proof.load_seconds:.1f} s{speed}{judged}"
    )


async def judge(proving: Proving, first: Pass, *, loaded: Load, cached: float | None) -> str | Refusal:
    """What the passport says to it, in words; "" without a passport."""
    passport = proving.passport
    if passport is None:
        return ""
    # What was ready before anybody looked may have been so for long.
    if loaded.watched and (slow := judge_load(passport, loaded.seconds, cached=cached)):
        return Refusal(slow)
    speed = await judge_speed(proving, passport, first)
    if isinstance(speed, Refusal):
        return speed
    given = zip(proving.golden.prompts, first.answers, strict=True)
    unseen = find_unseen(passport, ((prompt.id, prompt.accepted[number]) for prompt, number in given))
    words = f", {len(unseen)} right in other words" if unseen else ""
    return f"as its passport ({passport.node}) says{words}{speed}"


async def judge_speed(proving: Proving, passport: Passport, first: Pass) -> str | Refusal:
    """Two rates that are too low while nothing else was asked make a refusal; what cannot be compared makes none."""
    if passport.floor is None or first.rate is None:
        return "; its token rate was not judged: nobody counts tokens"
    passes = [first]
    while True:
        rates = find_rates(passes)
        if rates and not judge_rate(passport, rates):
            return ""
        slow = find_rates(passes[1:])
        if len(slow) >= TOO_LOW:
            return Refusal(judge_rate(passport, slow))
        if len(passes) >= PASSES:
            return "; its token rate was not judged: other requests were in flight"
        again = await ask_all(proving)
        if isinstance(again, Refusal):
            return again
        passes.append(again)


def find_rates(passes: Sequence[Pass]) -> list[float]:
    """Those that can be compared."""
    return [one.rate for one in passes if one.quiet and one.rate is not None]


async def wait_ready(proving: Proving) -> Load | Refusal:
    """Until it has loaded."""
    limit, asked = float(proving.golden.probe.load_seconds), proving.ticks()
    first, watched = 0.0, False
    while True:
        unit = await asyncio.to_thread(proving.find_unit)
        first = first or (unit.started if unit.pid else 0.0)
        answer = await get(Target(READY, port=proving.ports.http), timeout=1.0)
        now = proving.ticks()
        if answer.is_ok and unit.is_running:
            return Load(max(0.0, now - (unit.started or asked)), watched)
        if unit.active in ("failed", "missing") or unit.restarts >= CRASHES:
            return Refusal(f"its Triton ended while it loaded: {unit.says}, started {unit.restarts} times again")
        if first and now - first > limit:
            return Refusal(f"it was not ready {limit:g} s after its start")
        if now - asked > max(limit, START_SECONDS):
            return Refusal(f"its Triton did not start: {unit.says}")
        watched = watched or now - (unit.started or now) <= SOON_SECONDS
        await asyncio.sleep(proving.pause)


async def ask_all(proving: Proving) -> Pass | Refusal:
    """Every prompt once, to its end."""
    wrong: list[str] = []
    answers: list[int] = []
    busy: list[bool] = []
    tokens, seconds = 0, 0.0
    for prompt in proving.golden.prompts:
        busy.append(await is_busy(proving))
        heard = await _ask(proving, prompt)
        if not heard.is_answer:
            return Refusal(f"golden prompt {prompt.id}: {heard.says}")
        if not is_accepted(prompt, heard.text, whole=heard.finish == "stop"):
            wrong.append(f"{prompt.id}: {heard.text[-60:]!r}")
        answers.append(_find_answer(prompt, heard.text))
        tokens, seconds = tokens + heard.tokens, seconds + heard.seconds
    if wrong:
        count = len(proving.golden.prompts)
        return Refusal(f"{len(wrong)} of {count} golden answers are wrong, {wrong[0]}", lasting=True)
    rate = round(tokens / seconds, 1) or None if tokens and seconds else None
    return Pass(tuple(answers), rate, quiet=sum(busy) <= NOISE * len(busy))


async def is_busy(proving: Proving) -> bool:
    """Whether others ask this server now. A gateway that does not say counts as busy, none as idle."""
    if proving.gateway is None or not proving.gateway.exists():
        return False
    seen = judge_gateway(await read_gateway(proving.gateway, timeout=LOOK_SECONDS))
    return seen.in_flight != 0


async def find_version(ports: Ports) -> str:
    """Which Triton answers, as `Triton 2.51.0`; "" when it does not say."""
    answer = await get(Target(SERVER, port=ports.http), timeout=LOOK_SECONDS)
    try:
        version = json.loads(answer.body)["version"] if answer.is_ok else ""
    except (ValueError, LookupError, TypeError):
        return ""
    return f"Triton {version}" if isinstance(version, str) and version else ""


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


def _find_answer(prompt: Prompt, text: str) -> int:
    """Which of the accepted answers it is, or begins."""
    found = (number for number, answer in enumerate(prompt.accepted) if answer == text)
    begun = (number for number, answer in enumerate(prompt.accepted) if answer.startswith(text))
    return next(found, next(begun, 0))


async def _ask(proving: Proving, prompt: Prompt) -> Heard:
    """Once more after a failure that is no answer: the server may be busy with others."""
    patience = find_patience(proving.golden, prompt)
    for attempt in range(2):
        heard = await ask_slot(proving.ports.http, prompt.prompt, tokens=prompt.tokens, timeout=patience)
        if heard.is_answer or attempt:
            break
        await asyncio.sleep(proving.pause * 5)
    return heard
