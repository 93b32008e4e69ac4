"""One round: loads through all ways at once, the faults, and what each way made of them."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.eject import plain
from tests.bench.eject.asks import Front, Load, make_triton_front
from tests.bench.eject.measure import WATCHED_SECONDS, Ask, Outcome, Span, judge_ours, judge_peer
from tests.bench.eject.ours import DoorWatch, make_drills, suffer
from tests.bench.eject.peers import PEERS, Pool, Programs, serving
from tests.bench.eject.plain import FAULTS, NODE, XID
from tests.bench.eject.table import OURS
from tests.live.site import ADDRESSES

WARM_SECONDS = 5.0
PEER_RATE, OUR_RATE = 6.0, 12.0
GATEWAY_PORT = 8080
Key = tuple[str, str]


@dataclass(frozen=True)
class Bench:
    """What all rounds share. release: of gpu2."""

    programs: Programs
    pools: Mapping[str, Pool]
    service: Front
    release: str


def play(bench: Bench, folder: Path, trouble: list[str]) -> dict[Key, Outcome]:
    """One round, and what was broken in it well again."""
    with serving(bench.programs, list(bench.pools.values()), folder):
        outcomes = asyncio.run(measure(bench, trouble))
    plain.mend()
    return outcomes


async def measure(bench: Bench, trouble: list[str]) -> dict[Key, Outcome]:
    """Outcomes by fault and contender. trouble: what was lost and no fault explains is added."""
    loads = {
        (fault, peer): Load(make_triton_front(pool.ports[peer], names=pool.names), rate=PEER_RATE)
        for fault, pool in bench.pools.items()
        for peer in PEERS
    }
    mine, door = Load(bench.service, rate=OUR_RATE), DoorWatch(ADDRESSES[NODE], GATEWAY_PORT)
    watching, asking, runs = asyncio.create_task(door.run()), asyncio.create_task(mine.run()), {}
    for key, load in loads.items():
        runs[key] = asyncio.create_task(load.run())
        await asyncio.sleep(1 / PEER_RATE / len(loads))  # not all at the same moment
    await asyncio.sleep(WARM_SECONDS)
    first, *others = make_drills()
    onsets = {fault: await asyncio.to_thread(strike) for fault, strike in plain.make_faults().items()}
    onsets[XID] = await asyncio.to_thread(first.strike)

    async def suffer_all() -> dict[str, Span]:
        spans = {first.fault: await suffer(first, door, release=bench.release, onset=onsets[XID])}
        for drill in others:
            spans[drill.fault] = await suffer(drill, door, release=bench.release)
        return spans

    async def watch_peers() -> dict[Key, list[Ask]]:
        await asyncio.sleep(max(onsets.values()) + WATCHED_SECONDS - time.time())
        ended = await asyncio.gather(*(load.end(runs[key]) for key, load in loads.items()))
        return dict(zip(loads, ended, strict=True))

    spans, asks = await asyncio.gather(suffer_all(), watch_peers())
    watching.cancel()
    own = await mine.end(asking)
    trouble += find_strays({**asks, ("each", OURS): own}, onset=min(onsets.values()))
    return judge(asks, own, onsets=onsets, spans=spans)


def find_strays(asks: Mapping[Key, Sequence[Ask]], *, onset: float) -> list[str]:
    """What no fault explains: lost before there was one, or by a server that is well."""
    return [
        f"{fault}: {contender}: {one.problem}, of {one.server or 'nobody'}"
        for (fault, contender), these in asks.items()
        for one in these
        if one.problem and (one.ended < onset or one.server not in ("", NODE))
    ]


def judge(
    asks: Mapping[Key, Sequence[Ask]], own: Sequence[Ask], *, onsets: Mapping[str, float], spans: Mapping[str, Span]
) -> dict[Key, Outcome]:
    """All outcomes of a round."""
    watched = {fault: Span(onset, onset + WATCHED_SECONDS) for fault, onset in onsets.items()}
    outcomes = {key: judge_peer(one, watched[key[0]], bad=NODE) for key, one in asks.items()}
    return outcomes | {(fault, OURS): judge_ours(own, spans[fault]) for fault in FAULTS}
