"""The brain of a rollout: from what one look showed, or a person asked, to the next state and what must be done. Pure.

`step(rollout, event)` gives the next state and the effects that bring it about; whoever runs it stores the state first.
Effects are not remembered: a look that does not show them done makes them come again. So a control host may be gone
at any moment, and for as long as it likes; nothing goes forward meanwhile, and every node watches itself.

The state is in `core.rollout_state`, events and effects in `core.rollout_events`, the gates in `core.judge`.
"""

from collections.abc import Sequence
from dataclasses import replace

from dsops.core.errors import DsopsError
from dsops.core.judge import LEAST_SAMPLE, Evidence, find_judgement, look_for_harm, look_for_pass, want_pass_test
from dsops.core.rollout_events import Abort, Effect, Event, Fell, Look, Mark, Pause, Refused, Resume, Say, Seen
from dsops.core.rollout_look import add_counted, find_evidence, find_known, find_lost, take_look
from dsops.core.rollout_orders import REFUSES, bring, open_doors, send_back
from dsops.core.rollout_state import Counted, Judgement, Part, Rollout, Rules, Stand, Status, Trial
from dsops.core.spread import find_crowded, find_no_room, find_spares, find_targets, order_parts
from dsops.core.state import Epoch, clip
from dsops.core.waves import get_most

# A node whose clock is so far from ours is not trusted with a release: certificates, logs and marks go by it.
SKEW_SECONDS = 30.0
# Where dsops itself asks nothing, a step after the first waits for clients so many times its bake, not for ever.
PATIENCE = 3
# Samples of every node that has it must have come within this.
HEARD_SECONDS = 600.0


def begin(
    release: str, *, id: str, who: str, reason: str, epoch: Epoch, rules: Rules, look: Look, others: Sequence[str] = ()
) -> Rollout:
    """A rollout that has told nobody anything yet. Raises DsopsError on whatever forbids it.

    look: all nodes that are to have the release, as they are now, in the order in which they shall get it; and the
    others of their pools, which it is not for.
    """
    check_rules(rules)
    named = tuple(one for one in look.nodes if one.node not in others)
    _check_fleet(release, replace(look, nodes=named))
    for pool in dict.fromkeys(one.pool for one in named):
        _check_pool(pool, [one for one in look.nodes if one.pool == pool], rules)
    parts = order_parts(
        [Part(one.node, pool=one.pool, alone=one.alone, before=_find_before(one, release)) for one in named],
        first=find_spares(look.nodes),
    )
    parts += tuple(Part(one.node, one.pool, stand=Stand.OUT, is_other=True) for one in look.nodes if one not in named)
    rollout = Rollout(
        id=id,
        release=release,
        who=clip(who),
        reason=clip(reason),
        began=look.at,
        rules=rules,
        epoch=epoch,
        parts=parts,
        step_began=look.at,
        known=find_known(parts, look),
    )
    return take_look(rollout, look).rollout


def _find_before(seen: Seen, release: str) -> str:
    return seen.active if seen.active != release else ""


def check_rules(rules: Rules) -> None:
    """Raises DsopsError on what makes no rollout."""
    steps = rules.steps
    if not steps or steps[-1] != 100 or list(steps) != sorted(set(steps)) or steps[0] < 1:
        told = ",".join(str(one) for one in steps) or "nothing"
        raise DsopsError(f"the steps {told} do not grow to 100 percent", mend="such as --steps 1,5,25,50,100")
    if rules.hold_at and rules.hold_at not in steps:
        mend = f"one of {', '.join(str(one) for one in steps)}"
        raise DsopsError(f"{rules.hold_at} % is none of the steps, so it cannot be held", mend=mend)
    if rules.min_sample < LEAST_SAMPLE:
        raise DsopsError(f"a sample of {rules.min_sample} says nothing", mend=f"at least {LEAST_SAMPLE}; 800 is usual")
    if min(rules.canary_minutes, rules.step_minutes, rules.unavailable) < 0 or rules.patience_minutes <= 0:
        raise DsopsError("minutes and counts are not negative", mend="`dsops rollout start --help`")


def _check_fleet(release: str, look: Look) -> None:
    there = [one for one in look.nodes if one.is_reachable]
    if look.halt:
        raise DsopsError(
            f"the fleet is halted: {look.halt}", mend="`dsops rollout reset --reason ...` once it is mended"
        )
    if not look.nodes:
        raise DsopsError("there is no node to bring it to", mend="`dsops status` shows the nodes")
    if all(one.active == release for one in there) and there:
        raise DsopsError(f"every node has {release} already", mend="nothing is to be done")
    _refuse([one.node for one in there if release in one.bad], f"{release} is marked bad on", "bring a new build")
    skewed = [f"{one.node} ({one.skew:+.0f} s)" for one in there if abs(one.skew) > SKEW_SECONDS]
    _refuse(skewed, "the clock is wrong on", "mend the time there first: `dsops doctor`")
    moving = [one.node for one in there if one.is_moving or (one.canary and one.canary != release)]
    _refuse(moving, "another change is under way on", "wait for it: `dsops status`")


def _check_pool(pool: str, members: Sequence[Seen], rules: Rules) -> None:
    fresh = [one for one in members if one.is_reachable and not one.active and not one.drained]
    out = [
        one.node for one in members if one not in fresh and (not one.is_reachable or not one.is_serving or one.drained)
    ]
    most = get_most(len(members), rules.unavailable or None)
    if len(out) > most or len(out) == len(members):
        what = f"{len(out)} of {len(members)} of pool {pool} do not serve, {most} may be out: {', '.join(out[:8])}"
        raise DsopsError(what, mend="`dsops why NODE`, and begin once they serve")
    if len(members) == 1 and members[0].alone and not fresh:
        what = f"{members[0].node} is the last that serves of pool {pool}, and cannot hold two copies"
        raise DsopsError(what, mend="`dsops release activate --alone` there, when an outage is agreed to")


def _refuse(names: Sequence[str], what: str, mend: str) -> None:
    if names:
        raise DsopsError(f"{what} {', '.join(names[:8])}", mend=mend)


def step(rollout: Rollout, event: Event) -> tuple[Rollout, tuple[Effect, ...]]:
    """The next state, to be stored first, and then its effects. Raises DsopsError when a person may not do that now."""
    if isinstance(event, Look):
        return (rollout, ()) if rollout.is_over else _look(rollout, event)
    if isinstance(event, Refused):
        return _take_refusal(rollout, event)
    if rollout.is_over:
        raise DsopsError(f"rollout {rollout.id} is {rollout.status}", mend="`dsops rollout start` begins another")
    after = _ask(rollout, event)
    return after, (Say(event.at, _tell_asked(event)),)


# --- a person ---------------------------------------------------------------------------------------------------


def _ask(rollout: Rollout, event: Pause | Resume | Abort) -> Rollout:
    if isinstance(event, Abort):
        return _abort(rollout, event)
    if rollout.status is Status.ABORTING:
        raise DsopsError(f"rollout {rollout.id} goes back, which nothing stops", mend="`dsops rollout status`")
    if isinstance(event, Pause):
        return replace(
            rollout, status=Status.PAUSED, baking=False, hold=f"paused by {clip(event.who)}: {clip(event.reason)}"
        )
    is_held = rollout.trial.is_passed and rollout.percent == rollout.rules.hold_at
    parts = tuple(_drop(part) for part in rollout.parts)
    return replace(rollout, status=Status.RUNNING, parts=parts, ended=rollout.ended or is_held, hold="no look yet")


def _drop(part: Part) -> Part:
    """Going on means without those that are lost or stuck; they do not get it any more by this rollout."""
    if part.stand not in (Stand.LOST, Stand.STUCK):
        return part
    return replace(part, stand=Stand.OUT, dropped=True)


def _abort(rollout: Rollout, event: Abort) -> Rollout:
    reason = f"aborted by {clip(event.who)}: {clip(event.reason)}"
    if rollout.status is not Status.ABORTING:
        return replace(rollout, status=Status.ABORTING, failed=reason, hold=reason, baking=False)
    return replace(rollout, parts=tuple(_leave_behind(part) for part in rollout.parts))


def _leave_behind(part: Part) -> Part:
    """Those that cannot go back, or do not answer, are somebody's work by hand."""
    if part.stand is not Stand.LEAVES or not (part.gone_at or part.reason.startswith(REFUSES)):
        return part
    return replace(part, stand=Stand.LEFT, reason=f"left behind: {part.reason if not part.gone_at else 'unreachable'}")


def _tell_asked(event: Pause | Resume | Abort) -> str:
    did = {Pause: "paused", Resume: "goes on", Abort: "goes back"}[type(event)]
    return f"{did}, by {clip(event.who)}: {clip(event.reason)}"


def _take_refusal(rollout: Rollout, event: Refused) -> tuple[Rollout, tuple[Effect, ...]]:
    """It holds until a person goes on without that node, or the node comes round."""
    part = rollout.find_part(event.node)
    if part is None or rollout.is_over or part.is_moving or part.stand not in (Stand.COMES, Stand.LEAVES):
        return rollout, ()  # one that is busy is told again when it is not
    reason = f"{REFUSES}{clip(event.reason)}"
    if part.reason == reason:
        return rollout, ()
    stand = Stand.STUCK if part.stand is Stand.COMES else part.stand
    after = replace(part, stand=stand, reason=reason, since=event.at)
    parts = tuple(after if one.node == event.node else one for one in rollout.parts)
    return replace(rollout, parts=parts), (Say(event.at, f"{event.node} {reason}"),)


# --- a look -----------------------------------------------------------------------------------------------------


def _look(rollout: Rollout, look: Look) -> tuple[Rollout, tuple[Effect, ...]]:
    looked = take_look(rollout, look)
    after, effects = looked.rollout, list[Effect](looked.falls)
    if after.status is not Status.ABORTING:
        after, found = _watch(after, looked.falls, at=look.at)
        effects += found
    if after.status is Status.ABORTING:
        after, told = _go_back(after, at=look.at)
    else:
        after, told = _go_on(after, look, seconds=looked.seconds)
    effects += [*told, *open_doors(after, at=look.at)]
    said = _tell(after)
    if said == after.said:
        return after, tuple(effects)
    return replace(after, said=said), (*effects, Say(look.at, said))


def _watch(rollout: Rollout, falls: Sequence[Fell], *, at: float) -> tuple[Rollout, list[Effect]]:
    """Judges at every look, whatever holds: the way back is always open."""
    trial = look_for_harm(rollout.trial, find_evidence(rollout))
    rollout = replace(rollout, trial=trial)
    if falls:
        told = "; ".join(f"{fall.node}: {fall.reason}" for fall in falls)
        return _fail(rollout, told), [Mark(rollout.release, told)]
    lost, is_no_chance = find_lost(rollout)
    if is_no_chance:
        told = f"{', '.join(part.node for part in lost[:5])} became unreachable with it, and others did not"
        return _fail(rollout, told), [Mark(rollout.release, told), Fell(at, rollout.release, "", told)]
    judgement, says = find_judgement(trial.judged)
    if judgement is Judgement.FAIL:
        return _fail(rollout, says), [Mark(rollout.release, says), Fell(at, rollout.release, "", says)]
    return rollout, []


def _fail(rollout: Rollout, reason: str) -> Rollout:
    return replace(rollout, status=Status.ABORTING, failed=reason, hold=reason, baking=False)


def _go_back(rollout: Rollout, *, at: float) -> tuple[Rollout, list[Effect]]:
    rollout, effects = send_back(rollout, at=at)
    is_left = all(part.stand in (Stand.WAITS, Stand.LEFT, Stand.OUT) for part in rollout.parts)
    is_open = not any(
        part.drained and not part.is_shut and not part.gone_at and not part.is_gone for part in rollout.parts
    )
    return (replace(rollout, status=Status.ABORTED) if is_left and is_open else rollout), effects


def _go_on(rollout: Rollout, look: Look, *, seconds: float) -> tuple[Rollout, list[Effect]]:
    """Forward, as far as nothing holds."""
    hold = _find_hold(rollout, look)
    rollout = replace(rollout, hold=hold)
    if hold:
        return replace(rollout, baking=False), []
    targets = find_targets(rollout)
    if not targets:
        return replace(rollout, hold="no node can take it now", baking=False), []
    rollout, effects = bring(rollout, targets, at=look.at)
    if not _are_there(rollout, targets):
        return replace(rollout, baking=False), effects
    baked = rollout.baked + (seconds if rollout.baking else 0.0)
    return _judge(replace(rollout, baking=True, baked=baked), at=look.at), effects


def _find_hold(rollout: Rollout, look: Look) -> str:
    """Why nothing may go forward now, "" when it may."""
    if rollout.status is Status.PAUSED:
        return rollout.hold
    if look.halt:
        return f"the fleet is halted: {look.halt}"
    if look.alerts:
        return f"alerts fire: {', '.join(look.alerts[:5])}"
    if crowded := find_crowded(rollout):
        return crowded
    troubled = [f"{one.node}: {one.reason}" for one in rollout.parts if one.stand in (Stand.LOST, Stand.STUCK)]
    if troubled:
        return "; ".join(troubled[:5])
    having = [
        part for part in rollout.members if part.share and not part.drained and not part.closed and not part.dropped
    ]
    ill = [part.node for part in having if not part.is_serving and not part.is_gone]
    return f"{', '.join(ill[:5])} has it and does not serve" if ill else ""


def _are_there(rollout: Rollout, targets: dict[str, int]) -> bool:
    """Those that a person drained, or that are gone, are not waited for; unless nobody else has it."""
    there = [part for part in rollout.parts if part.stand is Stand.HAS and part.share >= targets.get(part.node, 101)]
    missing = [
        part
        for part in rollout.parts
        if part.node in targets and part not in there and not part.closed and not part.dropped
    ]
    return bool(there) and not missing


def _judge(rollout: Rollout, *, at: float) -> Rollout:
    """Every node has its share: the bake, then the gates, then the next step."""
    if rollout.baked < find_bake_seconds(rollout):
        return rollout
    if silent := _find_silent(rollout, at=at):
        return replace(rollout, hold=f"no samples of {', '.join(silent[:5])}")
    evidence = find_evidence(rollout)
    trial, rules = rollout.trial, _find_demands(rollout, evidence)
    if not trial.is_passed and want_pass_test(trial, evidence, rules):
        trial = look_for_pass(trial, evidence, rules)
        judgement, says = find_judgement(trial.judged)
        trial = replace(trial, is_passed=judgement is Judgement.PASS, waits=says)
        rollout = replace(rollout, trial=trial)
    if not trial.is_passed:
        return replace(rollout, hold=_tell_waiting(rollout, evidence.new.requests))
    if rollout.percent == rollout.rules.hold_at and not rollout.ended:
        return replace(rollout, hold=f"held at {rollout.percent} % until a person goes on")
    return _go_further(rollout, at=at)


def _find_silent(rollout: Rollout, *, at: float) -> list[str]:
    """Nodes that have it and do not tell what they count."""
    having = [
        part for part in rollout.members if part.share and not part.is_gone and not part.dropped and not part.closed
    ]
    return [part.node for part in having if at - part.heard_at > HEARD_SECONDS]


def _find_demands(rollout: Rollout, evidence: Evidence) -> Rules:
    """With the sample that the step must have: on an idle fleet nodes that have baked would never bring it."""
    has_waited = rollout.baked >= PATIENCE * find_bake_seconds(rollout)
    if rollout.step == 0 or evidence.is_sampled or not has_waited:
        return rollout.rules
    return replace(rollout.rules, min_sample=min(rollout.rules.min_sample, evidence.new.requests))


def _tell_waiting(rollout: Rollout, samples: int) -> str:
    if samples < rollout.rules.min_sample:
        return f"{samples} of {rollout.rules.min_sample} samples"
    return rollout.trial.waits


def find_bake_seconds(rollout: Rollout) -> float:
    """How long the step under way bakes at least."""
    return 60 * (rollout.rules.canary_minutes if rollout.step == 0 else rollout.rules.step_minutes)


def _go_further(rollout: Rollout, *, at: float) -> Rollout:
    if rollout.step + 1 == len(rollout.rules.steps):
        return replace(rollout, status=Status.DONE, hold="", baking=False)
    history = add_counted([rollout.history, *(part.old for part in rollout.parts)])
    parts = tuple(replace(part, new=Counted(), old=Counted()) for part in rollout.parts)
    return replace(
        rollout,
        step=rollout.step + 1,
        step_began=at,
        baked=0.0,
        baking=False,
        parts=parts,
        history=history,
        trial=Trial(),
    )


def _tell(rollout: Rollout) -> str:
    """One sentence that changes when something of weight does."""
    if rollout.status is Status.DONE:
        without = [part.node for part in rollout.members if part.share < 100 and not part.is_gone]
        return f"done{', without ' + ', '.join(without) if without else ''}"
    if rollout.status in (Status.ABORTING, Status.ABORTED):
        return f"{rollout.status}: {rollout.failed}"
    place = f"step {rollout.step + 1} of {len(rollout.rules.steps)}, {rollout.percent} %"
    if rollout.hold:
        return f"{place}: holds" if "samples" in rollout.hold else f"{place}: holds: {rollout.hold}"
    if rollout.baking:
        return f"{place}: bakes"
    return f"{place}: {_find_wait(rollout) or 'nodes are brought to their share'}"


def _find_wait(rollout: Rollout) -> str:
    """Why the next node cannot be drained for it yet, "" when some are under way."""
    if any(part.stand is Stand.COMES for part in rollout.parts):
        return ""
    targets = find_targets(rollout)
    waits = [part for part in rollout.parts if part.node in targets and part.alone and not part.wants]
    return next((f"waits: {why}" for part in waits if (why := find_no_room(rollout, part))), "")
