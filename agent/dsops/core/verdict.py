"""How looks become a verdict, and when traffic goes away and comes back. Pure; looks are made in `core.looks`."""

from dataclasses import dataclass, replace

from dsops.core.looks import Code, Look, Witness
from dsops.core.status import Verdict

STRIKES = 3
# From the first to the third: one hiccup of the machine must not be three strikes.
SPAN_SECONDS = 5.0
# Two BAD of one subject so close together are one.
MERGE_SECONDS = 5.0
# A BAD that nothing confirmed or cleared for so long does not count any more.
HORIZON_SECONDS = 300.0
DEATHS_SECONDS = 600.0
# A right answer older than this does not say that all is well now.
OK_SECONDS = 60.0
# Suspicion is shown to the peers for so long before anybody acts on it: longer than their view of us is old.
SHOWN_SECONDS = 2.0
STALL_SECONDS = 2.0
# Of each witness so many OK looks are remembered.
KEPT = 8
# OK looks that let traffic in again, by witness.
ADMIT = {Witness.SLOT: 2, Witness.GATEWAY: 1}
# Nobody can be served by an engine in this state, so traffic goes away at once, whoever else serves.
_DEAD = (Code.CRASHED, Code.REFUSED)


@dataclass(frozen=True)
class Strikes:
    """What speaks against a release on this node now. Begin a new one for each release and after each restart by dsops.

    bad: BAD looks that nothing has answered, oldest first, one per subject and 5 s. deaths: BAD looks of the process,
    whatever came between. good: OK looks since the last BAD. last_bad: when any BAD came, merged ones too.
    """

    bad: tuple[Look, ...] = ()
    deaths: tuple[Look, ...] = ()
    good: tuple[Look, ...] = ()
    last_bad: float | None = None

    def add(self, look: Look) -> "Strikes":
        """With one more look; UNKNOWN neither adds nor clears."""
        if look.verdict is Verdict.BAD:
            return self._add_bad(look)
        if look.verdict is Verdict.OK:
            return self._add_good(look)
        return self

    def _add_bad(self, look: Look) -> "Strikes":
        deaths = tuple(one for one in self.deaths if look.at - one.at <= DEATHS_SECONDS)
        if look.code is Code.CRASHED and all(one.subject != look.subject for one in deaths):
            deaths = (*deaths, look)
        recent = [one for one in self.bad if look.at - one.at <= HORIZON_SECONDS]
        merged = any(one.subject == look.subject and look.at - one.at < MERGE_SECONDS for one in recent)
        bad = (*recent,) if merged else (*recent, look)
        return Strikes(bad[-32:], deaths[-32:], (), max(look.at, self.last_bad or look.at))

    def _add_good(self, look: Look) -> "Strikes":
        clears = _CLEARED_BY.get(look.witness, (look.witness,))
        bad = tuple(one for one in self.bad if one.witness not in clears or one.at > look.at)
        is_newer = self.last_bad is None or look.at > self.last_bad
        return replace(self, bad=bad, good=self._keep_good(look) if is_newer else self.good)

    def _keep_good(self, look: Look) -> tuple[Look, ...]:
        """So many of each witness: one that looks every second must not push out one that looks every 15 s."""
        same = [one for one in self.good if one.witness is look.witness]
        gone = same[0] if len(same) >= KEPT else None
        return (*(one for one in self.good if one is not gone), look)

    @property
    def count(self) -> int:
        """How many subjects speak against it: what an operator is shown."""
        return len({one.subject for one in self.bad})

    def find_verdict(self, now: float) -> Verdict:
        """BAD on three independent BAD, or three deaths within ten minutes; OK on a fresh right answer and none."""
        bad = [one for one in self.bad if now - one.at <= HORIZON_SECONDS]
        if _is_struck_out(bad) or len([d for d in self.deaths if now - d.at <= DEATHS_SECONDS]) >= STRIKES:
            return Verdict.BAD
        is_fresh = any(one.witness is Witness.SLOT and now - one.at <= OK_SECONDS for one in self.good)
        return Verdict.OK if is_fresh and not bad else Verdict.UNKNOWN


# A right answer of the slot is a living process whose engine moves. It says nothing about the gateway.
_CLEARED_BY = {Witness.SLOT: (Witness.SLOT, Witness.PROCESS, Witness.PROGRESS)}


def _is_struck_out(bad: list[Look]) -> bool:
    subjects = {one.subject for one in bad}
    return len(subjects) >= STRIKES and bad[-1].at - bad[0].at >= SPAN_SECONDS


def want_eject(strikes: Strikes, *, peers_serving: int) -> str | None:
    """Why traffic should go away now, None when it should not.

    peers_serving: other nodes that serve and show no strike (`core.blame.count_serving`). A dead engine goes at once;
    a hang too, if another node serves; anything else on its second BAD, if another node serves. Of nodes that fall ill
    together one always stays: each shows its own first strike, or stall, for longer than its view of the others is old.
    """
    dead = next((one for one in strikes.bad if one.code in _DEAD and one.witness is not Witness.GATEWAY), None)
    if dead:
        return dead.says
    if peers_serving < 1:
        return None
    hung = next((one for one in strikes.bad if one.code is Code.HUNG), None)
    if hung:
        return hung.says
    is_shown = len(strikes.bad) >= 2 and strikes.bad[-1].at - strikes.bad[0].at >= SHOWN_SECONDS
    return strikes.bad[-1].says if is_shown else None


def count_strikes(strikes: Strikes, *, stall: float | None) -> int:
    """What NodeStatus.strikes shows, to the peers above all: a stall counts before it is long enough for a hang."""
    is_hung = any(one.code is Code.HUNG for one in strikes.bad)
    return strikes.count + (1 if not is_hung and stall is not None and stall >= STALL_SECONDS else 0)


def want_admit(strikes: Strikes, *, peers_serving: int = 1) -> bool:
    """Whether an ejected node may serve again: two right answers of the slot and one through the gateway since.

    A node that only answers wrong comes back too when nobody else serves any more, as it would not have left.
    """
    if all(sum(one.witness is who for one in strikes.good) >= count for who, count in ADMIT.items()):
        return True
    return peers_serving < 1 and bool(strikes.bad) and all(one.code is Code.WRONG for one in strikes.bad)
