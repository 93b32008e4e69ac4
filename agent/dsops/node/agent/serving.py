"""Samples how the slots serve, once in a few seconds, out of what a tick has read anyway and the gateway's counts."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.looks import Witness
from dsops.core.passport import Hardware, Passport, find_fitting
from dsops.core.prompts import is_accepted
from dsops.core.samples import Samples
from dsops.core.status import Phase, Slot
from dsops.node.agent.config import AgentConfig
from dsops.node.agent.events import Effect, Event, Probe, Probed, ProbeLost
from dsops.node.agent.snapshot import Snapshot
from dsops.node.sources.gateway import GatewayStatus, judge_gateway, read_samples
from dsops.node.sources.machine import Machine
from dsops.node.sources.passports import Papers
from dsops.node.sources.probe import Heard
from dsops.node.sources.serving import (
    ANSWERS_KEPT,
    FAILED,
    NOT_YET,
    REQUESTS,
    Asked,
    ServingSeen,
    SlotServing,
    begin,
    read_told,
    tell_totals,
)
from dsops.node.sources.trend import Trend
from dsops.node.sources.units import Unit
from dsops.node.sources.unread import Unread

BEAT_SECONDS = 5.0
# What a process takes while it loads and warms up is no creep.
WARM_SECONDS = 900.0
# What this server computes with changes rarely, and a large processor takes a while to tell.
HARDWARE_SECONDS = 60.0
NO_GATEWAY = GatewayStatus("this server has no gateway")


@dataclass(frozen=True)
class _Ended:
    """A probe of a slot, as it ended."""

    probe: Probe
    heard: Heard
    at: float


@dataclass
class Serving:
    """One per agent; told what the watch wants and hears, and asked once a tick. ticks: the monotonic clock."""

    config: AgentConfig
    ticks: Callable[[], float]
    seen: ServingSeen = field(default_factory=ServingSeen)
    _samples: Samples | Unread = NOT_YET
    _read_at: float = float("-inf")
    _seen_at: float = float("-inf")
    _ours: int = 0
    _ended: dict[str, deque[_Ended]] = field(default_factory=dict)
    _others_at: float = float("-inf")
    _here: Hardware | None = None
    _asked_at: float = float("-inf")

    # --- dsops' own requests ------------------------------------------------------------------------------------

    def begin(self, effect: Effect) -> None:
        """The watch wants this done."""
        if isinstance(effect, Probe) and effect.witness is Witness.GATEWAY:
            self._ours += 1

    def take(self, event: Event) -> None:
        """The watch is told this."""
        if isinstance(event, Probed | ProbeLost) and event.probe.witness is Witness.GATEWAY:
            self._ours -= 1
        if isinstance(event, Probed) and event.probe.witness is Witness.SLOT:
            kept = self._ended.setdefault(event.probe.slot, deque(maxlen=ANSWERS_KEPT))
            kept.append(_Ended(event.probe, event.heard, event.now.ticks))

    # --- reading ------------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """What clients' requests came to, as the gateway counted them."""
        if self.config.gateway is None or not self.config.slots:
            return
        if self.ticks() - self._read_at < BEAT_SECONDS:
            return
        self._read_at = self.ticks()
        try:
            self._samples = await read_samples(Path(self.config.gateway.socket), timeout=self.config.answer_seconds)
        except DsopsError as error:
            self._samples = Unread(error.what)

    def see(
        self, slots: Iterable[Slot], snapshot: Snapshot, *, machine: Machine, hardware: Callable[[], Hardware | None]
    ) -> ServingSeen:
        """As of this tick, or of the last one that was looked at. hardware: of this server now, None: nobody knows."""
        gateway = judge_gateway(snapshot.gateway) if snapshot.gateway else NO_GATEWAY
        if snapshot.gateway and (gateway.in_flight is None or gateway.in_flight > self._ours):
            self._others_at = snapshot.ticks
        if snapshot.ticks - self._seen_at < BEAT_SECONDS:
            return self.seen
        self._seen_at = snapshot.ticks
        before = {one.name: one for one in self.seen.slots}
        found = []
        for slot in slots:
            one = replace(begin(slot, before.get(slot.name)), phase=slot.phase, reason=slot.reason)
            one = self._add_page(one, snapshot, gateway)
            one = _add_memory(one, _find_unit(self.config, slot, snapshot), machine, ticks=snapshot.ticks)
            passport = self._find_passport(snapshot.passports.get(slot.release, Papers()), hardware)
            found.append(replace(one, answers=self._list_answers(one), passport=passport))
        self.seen = ServingSeen(f"{snapshot.ticks:.3f}", tuple(found), machine.memory.available)
        return self.seen

    def _add_page(self, slot: SlotServing, snapshot: Snapshot, gateway: GatewayStatus) -> SlotServing:
        told = read_told(snapshot.slots[slot.name].metrics)
        tokens = gateway.find_slot(slot.name).tokens
        # Where the gateway itself is silent that is told already, and it counts nothing.
        silent = Unread(gateway.reason or "the gateway does not say", is_missing=bool(gateway.reason))
        clients = dict.fromkeys((REQUESTS, FAILED), silent) if gateway.reason else self._count_clients(slot.release)
        totals = tell_totals(told, relayed=silent if tokens is None else tokens, clients=clients)
        telling = slot.telling if isinstance(told, Unread) else slot.telling | told.keys()
        return replace(slot, told=told, telling=telling, totals=slot.totals.add(snapshot.ticks, totals))

    def _count_clients(self, release: str) -> Mapping[str, int | Unread]:
        if isinstance(self._samples, Unread):
            return dict.fromkeys((REQUESTS, FAILED), self._samples)
        tally = self._samples.find(release)
        return {REQUESTS: tally.real.requests, FAILED: tally.real.failed} if tally else {}

    def _list_answers(self, slot: SlotServing) -> tuple[Asked, ...]:
        """To the release that is there now. Whether others were served meanwhile the tick after an end knows."""
        ended = [one for one in self._ended.get(slot.name, ()) if one.probe.golden.release == slot.release]
        known = {one.at: one for one in slot.answers}
        return tuple(known.get(one.at) or _make_asked(one, others_at=self._others_at) for one in ended)

    def _find_passport(self, papers: Papers, hardware: Callable[[], Hardware | None]) -> Passport | Unread | None:
        if papers.damage:
            return Unread(papers.damage[0])
        if not papers.passports:
            return None
        if self.ticks() - self._asked_at >= HARDWARE_SECONDS or self._here is None:
            self._here, self._asked_at = hardware(), self.ticks()
        if self._here is None:
            return Unread("nobody can say what hardware this is")
        return find_fitting(papers.passports, self._here)


def _make_asked(ended: _Ended, *, others_at: float) -> Asked:
    probe, heard = ended.probe, ended.heard
    is_heard = bool(heard.text) or heard.is_answer
    return Asked(
        at=ended.at,
        text=heard.text,
        is_answer=heard.is_answer,
        is_right=is_accepted(probe.prompt, heard.text, whole=heard.finish == "stop") if is_heard else None,
        says=heard.says,
        wanted=probe.prompt.tokens,
        per_token=_find_per_token(heard),
        first_token=heard.first_seconds,
        is_alone=others_at < probe.began.ticks,
    )


def _find_per_token(heard: Heard) -> float | None:
    """After the first one; of whole answers whose tokens somebody counted."""
    first, last = heard.first_seconds, heard.last_seconds
    if first is None or last is None or not heard.is_answer or heard.tokens < 2:
        return None
    return (last - first) / (heard.tokens - 1)


def _find_unit(config: AgentConfig, slot: Slot, snapshot: Snapshot) -> Unit:
    [name] = [ports.unit for ports in config.slots if ports.name == slot.name]
    return snapshot.units[name]


def _add_memory(slot: SlotServing, unit: Unit, machine: Machine, *, ticks: float) -> SlotServing:
    """Of one process from its warm-up on; what nobody could read leaves a gap."""
    use = machine.uses.get(unit.name, NOT_YET)
    memory = slot.memory if unit.pid == slot.pid else Trend()
    is_warm = unit.pid > 0 and unit.started > 0 and ticks - unit.started >= WARM_SECONDS
    if slot.phase is Phase.SERVING and is_warm and not isinstance(use, Unread):
        memory = memory.add(ticks, use.own)
    return replace(slot, use=use, memory=memory, pid=unit.pid)
