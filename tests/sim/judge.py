"""The agent's judgement on an engine's ill, by the real looks, strikes, blame and remedy; each case is judged once."""

from functools import lru_cache

from dsops.core.blame import Evidence, judge_blame
from dsops.core.looks import Cause, Death, Look, Outcome, ProbeSeen, Witness, judge_death, judge_probe
from dsops.core.remedy import Action, Remedy, Situation, decide
from dsops.core.status import Blame, Condition, Finding, Phase, Verdict
from dsops.core.verdict import Strikes

# Ills of a slot of which no dsops may think that the release is to blame.
HARMLESS = ("", "slow", "busy", "blind", "loading", "jump")
BROKEN_GPU = Finding("gpu 0", "gpu.xid", Verdict.BAD, Blame.HARDWARE, Condition.FAILED, "an Xid", "")


@lru_cache(maxsize=4096)
def judge(
    ill: str,
    *,
    baking: bool,
    restarted: bool,
    target: str,
    rollbacks_left: int,
    restarts_left: int,
    halted: str,
    moving: str,
    findings: tuple[Finding, ...] = (),
) -> tuple[Verdict, Remedy]:
    """What three looks at a slot come to, and what the agent would do now. Pure, so that each case is judged once."""
    strikes = Strikes()
    for look in find_looks(ill):
        strikes = strikes.add(look)
    verdict = strikes.find_verdict(12.0)
    deaths = (Death(2.0, 7, Cause.EXIT),) if ill == "dead" else ()
    evidence = Evidence(
        at=0.0,
        strikes=strikes,
        baking=baking,
        restarted=restarted,
        deaths=deaths,
        findings=findings,
        clock_jumped=False,
    )
    ruling = judge_blame(evidence)
    situation = Situation(
        verdict,
        evidence,
        ruling,
        target=target,
        rollbacks_left=rollbacks_left,
        restarts_left=restarts_left,
        halted=halted,
        moving=moving,
    )
    return verdict, decide(situation)


@lru_cache(maxsize=64)
def find_looks(ill: str) -> tuple[Look, ...]:
    """Three looks within ten seconds, each at another prompt."""
    if ill == "dead":
        return tuple(judge_death(Death(at, pid, Cause.EXIT)) for pid, at in enumerate((2.0, 6.0, 10.0), 7))
    return tuple(_probe(ill, f"p{number}", began=at) for number, at in enumerate((0.0, 3.0, 6.0)))


def _probe(ill: str, prompt: str, *, began: float) -> Look:
    ended = began + (0.1 if ill in ("", "wrong", "busy") else 5.0)
    outcome, accepted, stall, status = {
        "": (Outcome.ANSWERED, True, 0.0, 200),
        "wrong": (Outcome.ANSWERED, False, 0.0, 200),
        "busy": (Outcome.FAILED, None, 0.0, 429),
        "slow": (Outcome.TIMEOUT, None, 0.0, 200),
        "blind": (Outcome.TIMEOUT, None, None, 0),
        "hung": (Outcome.TIMEOUT, None, 5.0, 0),
        "loading": (Outcome.TIMEOUT, None, 5.0, 0),
        "jump": (Outcome.TIMEOUT, None, 5.0, 0),
    }[ill]
    seen = ProbeSeen(Witness.SLOT, prompt, began, ended, outcome, accepted, status=status)
    phase = Phase.LOADING if ill == "loading" else Phase.SERVING
    return judge_probe(seen, stall, phase=phase, clock_jumped=ill == "jump", agent_age=1000.0)


def judge_well() -> Verdict:
    """On an engine that answers right nothing is done, whatever else there is."""
    verdict, remedy = judge(
        "", baking=True, restarted=True, target="r", rollbacks_left=2, restarts_left=2, halted="", moving=""
    )
    assert remedy.action is Action.NONE
    return verdict
