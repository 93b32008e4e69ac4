"""Mistakes in what decides: the brain of a node, its lanes, and the judgement of the agent."""

from tests.mutants.mutant import Mutant

NODE, MOVES = "agent/dsops/core/node.py", "agent/dsops/node/helper/moves.py"
VERDICT, LOOKS = "agent/dsops/core/verdict.py", "agent/dsops/core/looks.py"
BLAME, REMEDY = "agent/dsops/core/blame.py", "agent/dsops/core/remedy.py"
LANES = "agent/dsops/core/lanes.py"
BRAIN = ("sim", "node")

CORE = (
    # --- who may command ---
    Mutant(
        "an epoch just older is obeyed",
        NODE,
        "if epoch.number < last.number:",
        "if epoch.number < last.number - 1:",
        BRAIN,
    ),
    Mutant(
        "an epoch has two holders",
        NODE,
        "if epoch.number == last.number and epoch.holder != last.holder:",
        "if epoch.number == last.number and not epoch.holder:",
        BRAIN,
    ),
    Mutant(
        "an epoch may jump anywhere",
        NODE,
        "if epoch.number > last.number + EPOCH_JUMP:",
        "if epoch.number > last.number + 10 * EPOCH_JUMP:",
        BRAIN,
    ),
    Mutant("an epoch is forgotten", NODE, "    return replace(state, epoch=epoch)\n", "    return state\n", BRAIN),
    Mutant(
        "an epoch of a refused command is not kept",
        MOVES,
        "                self._keep_epoch(session, epoch)\n",
        "",
        ("sim", "helper"),
    ),
    # --- what may come in ---
    Mutant(
        "the bad list is ignored",
        NODE,
        "if bad := state.find_bad(event.release, at=event.at):",
        "if (bad := state.find_bad(event.release, at=event.at)) and bad.until is None:",
        BRAIN,
    ),
    Mutant(
        "a halted node goes forward",
        NODE,
        "    _check_idle(state)\n    _check_cleared(state)\n",
        "    _check_idle(state)\n",
        BRAIN,
    ),
    Mutant(
        "two moves at once",
        NODE,
        "def _check_idle(state: NodeState) -> None:\n    if move := state.move:",
        "def _check_idle(state: NodeState) -> None:\n    if (move := state.move) and move.step is Step.SWITCH:",
        BRAIN,
    ),
    Mutant(
        "the active slot is overwritten",
        NODE,
        "return next(slot for slot in SLOTS if slot != taken)",
        "return next(slot for slot in SLOTS if slot == taken or not taken)",
        BRAIN,
    ),
    Mutant(
        "an old proof counts for a new move",
        NODE,
        "    if event.began not in (0.0, move.began):\n",
        "    if event.began < 0.0:\n",
        ("replays", "sim", "node"),
    ),
    Mutant(
        "nothing needs a proof",
        NODE,
        "        return _turn(state, move, Step.PROVE)\n",
        "        return _turn(state, move, Step.SWITCH)\n",
        BRAIN,
    ),
    # --- the order of effects ---
    Mutant(
        "the slot starts before its link is turned",
        NODE,
        "Stop(move.slot), Link(move.slot, move.release), Start(move.slot))",
        "Stop(move.slot), Start(move.slot), Link(move.slot, move.release))",
        ("sim", "node", "helper"),
    ),
    Mutant(
        "the other lanes of a canary lead nowhere",
        NODE,
        'stable = state.active.slot if state.active and move.share < max(SHARES) else ""',
        'stable = ""',
        BRAIN,
    ),
    Mutant(
        "a canary stops before its lanes go back",
        NODE,
        "return _turn(marked, move, Step.RETURN, refuted=reason or NO_REASON)",
        "return _turn(marked, move, Step.TIDY, stops=move.slot, refuted=reason or NO_REASON)",
        BRAIN,
    ),
    Mutant(
        "a share is journalled and not turned",
        NODE,
        "return _turn(state, move, Step.SWITCH, share=event.share)",
        "return _turn(state, move, Step.CANARY, share=event.share)",
        BRAIN,
    ),
    Mutant("a share takes one lane too many", LANES, "SHARES.index(share) + 1]", "SHARES.index(share) + 2]", BRAIN),
    Mutant(
        "an effect is done before it is in the journal",
        MOVES,
        "            self._write(session, after, tell(event, session.state, after, note=note), note)\n"
        "            then(session.state)\n",
        "            before, session.state = session.state, after\n            error = self._finish(session)\n"
        "            self._write(session, session.state, tell(event, before, after, note=note), note)\n"
        "            then(session.state)\n",
        ("sim", "helper"),
    ),
    Mutant(
        "an event is never journalled",
        MOVES,
        "            self._write(session, after, tell(event, session.state, after, note=note), note)\n"
        "            then(session.state)\n",
        "            session.state = after\n            then(session.state)\n",
        ("sim", "helper"),
    ),
    Mutant(
        "what a kill left undone is not taken up",
        MOVES,
        "                self._advance(session, Resumed(self.now()))\n        return self._finish(session)\n",
        "                self._advance(session, Resumed(self.now()))\n        return None\n",
        ("sim", "helper"),
    ),
    Mutant(
        "tries are counted in memory only",
        MOVES,
        "                self._advance(session, Resumed(self.now()))\n",
        "                pass\n",
        ("sim", "helper"),
    ),
    Mutant(
        "what could not be done counts as done",
        MOVES,
        "                if not self._advance(session, Failed(self.now(), str(error))):\n"
        "                    return failed\n"
        "                continue\n",
        "                self._advance(session, Failed(self.now(), str(error)))\n",
        ("sim", "helper"),
    ),
    # --- the way back ---
    Mutant(
        "a rollback to what is marked bad",
        NODE,
        "if one.release not in out and not state.find_bad(one.release, at=at)]",
        "if one.release not in out]",
        BRAIN,
    ),
    Mutant(
        "a rollback to what is not on the disk",
        NODE,
        "    out = {active, *missing}\n",
        "    out = {active}\n",
        BRAIN,
    ),
    Mutant(
        "a rollback that must load turns the lanes first",
        NODE,
        "    first = Step.SWITCH if slot else Step.START\n",
        "    first = Step.SWITCH\n",
        BRAIN,
    ),
    Mutant(
        "a slot that just starts counts as warm",
        NODE,
        "    if move and slot in (move.slot, move.stops):\n",
        "    if move and slot == move.stops:\n",
        BRAIN,
    ),
    Mutant(
        "the budget is one too large",
        NODE,
        "    if recent >= policy.rollbacks_per_day:\n",
        "    if recent > policy.rollbacks_per_day:\n",
        BRAIN,
    ),
    Mutant(
        "a clock that is set back gives the budget back",
        NODE,
        "sum(abs(at - time) < seconds for time in times)",
        "sum(0 <= at - time < seconds for time in times)",
        BRAIN,
    ),
    Mutant(
        "own rollbacks are not counted durably",
        NODE,
        "replace(back, alone=alone), rollbacks=counted, warm=slot)",
        "replace(back, alone=alone), warm=slot)",
        BRAIN,
    ),
    Mutant(
        "restarts are one too many",
        NODE,
        "    if recent >= policy.restarts_per_hour:\n",
        "    if recent > policy.restarts_per_hour:\n",
        BRAIN,
    ),
    Mutant(
        "a halt blocks a person's rollback",
        NODE,
        "    if event.own:\n        _check_budget(state, event, policy)\n",
        "    if event.own or state.halted:\n        _check_budget(state, event, policy)\n",
        BRAIN,
    ),
    Mutant(
        "a rollback that failed does not halt",
        NODE,
        '        state = replace(state, halted=clip(f"rollback to {move.release} failed: {reason}"))\n',
        "        pass\n",
        BRAIN,
    ),
    Mutant(
        "what failed is not marked",
        NODE,
        "    marked = _mark(state, Bad(move.release, reason, at, until), at=at)\n",
        "    marked = state\n",
        BRAIN,
    ),
    Mutant(
        "what was left in a rollback is not marked",
        NODE,
        "    marked = _mark(state, Bad(active.release, event.reason, event.at, _until(event, policy)), at=event.at)\n",
        "    marked = state\n",
        BRAIN,
    ),
    Mutant(
        "a lasting mark is weakened",
        NODE,
        "    if before and before.until is None:\n        bad = replace(bad, until=None)\n",
        "",
        BRAIN,
    ),
    Mutant(
        "a move never gives up",
        NODE,
        "return after if turned.turns <= TURNS else",
        "return after if turned.turns <= 10 * TURNS else",
        BRAIN,
    ),
    # --- stages, and what is kept ---
    Mutant(
        "a bake window of nothing",
        NODE,
        "if stage is Stage.BAKING and age >= policy.bake_seconds:",
        "if stage is Stage.BAKING and age >= 0.0:",
        BRAIN,
    ),
    Mutant(
        "known good as soon as it is baked",
        NODE,
        "if stage is Stage.BAKED and age >= policy.known_good_seconds:",
        "if stage is Stage.BAKED and age >= policy.bake_seconds:",
        BRAIN,
    ),
    Mutant(
        "what comes in counts as baked",
        NODE,
        "Active(move.release, move.slot, event.at, Stage.BAKING, alone=move.alone)",
        "Active(move.release, move.slot, event.at, Stage.BAKED, alone=move.alone)",
        BRAIN,
    ),
    Mutant(
        "what was left is no way back",
        NODE,
        "return _keep_best((replace(left, alone=False), *others)) if left and is_good else others",
        "return others",
        BRAIN,
    ),
    Mutant(
        "the way back may be removed",
        NODE,
        "    if event.release in (_find_way_back(state, at=event.at),",
        "    if not event.release and event.release in (_find_way_back(state, at=event.at),",
        BRAIN,
    ),
    Mutant(
        "the last good one may be removed when the way back is lost",
        NODE,
        "missing=event.missing)):\n",
        "missing=())):\n",
        ("node", "replays"),
    ),
    Mutant(
        "what is in a slot may be removed",
        NODE,
        "    if event.release in _find_busy(state) or any(held.release == event.release for held in state.slots):\n",
        "    if event.release in _find_busy(state):\n",
        BRAIN,
    ),
    # --- the agent's judgement ---
    Mutant("two strikes are three", VERDICT, "STRIKES = 3\n", "STRIKES = 2\n", ("looks", "incidents")),
    Mutant(
        "an UNKNOWN look is a strike",
        VERDICT,
        "        if look.verdict is Verdict.BAD:\n            return self._add_bad(look)\n",
        "        if look.verdict is not Verdict.OK:\n            return self._add_bad(look)\n",
        ("sim", "looks", "incidents"),
    ),
    Mutant(
        "a busy engine is a hung one",
        LOOKS,
        "    if stall < max(1.0, min(STILL_SECONDS, 0.6 * waited)):\n",
        "    if stall < 0.0:\n",
        ("sim", "looks"),
    ),
    Mutant(
        "a verdict that is not BAD acts",
        REMEDY,
        "    if situation.verdict is not Verdict.BAD:\n",
        "    if situation.verdict is Verdict.OK:\n",
        ("sim", "blame"),
    ),
    Mutant(
        "a broken GPU is the release's fault",
        BLAME,
        '    (_find_class(Blame.HARDWARE), _exclude("hardware: nothing reports a fault")),\n',
        "",
        ("sim", "blame"),
    ),
    Mutant(
        "a rollback without any left",
        REMEDY,
        "    if situation.rollbacks_left < 1:\n",
        "    if situation.rollbacks_left < -9:\n",
        ("blame",),
    ),
)
