"""The local door's verbs that move this server: rollback, restart, clear, adopt, recover."""

import click

from dsops.core.errors import DsopsError
from dsops.core.state import Kind, NodeState, Step, to_data
from dsops.core.tiers import ColdError
from dsops.node.cli.follow import LOOKS, ask, ask_move, decode_state, follow, is_driven, prove_move
from dsops.node.cli.main import Door, say
from dsops.node.cli.options import as_json, epoch, fleet_words, holder, person, wait
from dsops.node.cli.tiers import heat_first, tell_lost
from dsops.node.helper.client import call

RESTART_SECONDS = 180.0


@click.command()
@person
@click.option("--to", default="", help="A release that was good here; the default is the newest such one.")
@click.option("--leaves", default="", help="Only if this release is the one that goes; else nothing changes.")
@epoch
@holder
@wait(0.0)
@as_json
@click.pass_obj
def rollback(
    door: Door,
    who: str,
    reason: str,
    to: str,
    leaves: str,
    epoch: int | None,
    holder: str,
    wait: float,
    as_json: bool,
) -> None:
    """Goes back to the release that was good here, and marks the one it leaves as bad.

    While an activation is under way, that one is called off instead, and what serves goes on serving. A release that
    lies on the cold tier is copied to the hot one first.
    """
    words = fleet_words(who=who, reason=reason, epoch=epoch, holder=holder)
    words |= {key: word for key, word in (("to", to), ("leaves", leaves)) if word}
    try:
        said = ask_move(door, "rollback", **words)
    except ColdError as error:
        heat_first(door, error, who=who, reason=reason)
        said = ask_move(door, "rollback", **words)
    state = drive(door, decode_state(said["state"]), seconds=wait)
    active = state.active.release if state.active else "nothing"
    comes = f"{state.move.release} loads and gets the traffic once it is proven" if state.move else ""
    seconds = said.get("seconds")
    took = f" ({seconds:.3f} s)" if seconds is not None else ""
    say(as_json, comes or f"{active} has the traffic{took}", {"ok": True, "state": to_data(state), "seconds": seconds})


def drive(door: Door, state: NodeState, *, seconds: float) -> NodeState:
    """Where no agent proves what must load first, this door does."""
    move = state.move
    if move is None or move.step is not Step.PROVE or move.kind is not Kind.ROLLBACK:
        return state
    if seconds:
        ended = follow(door, move.release, seconds=seconds)
        if not ended.has_traffic:
            mend = "push a good release and activate it; `dsops node restart` may help meanwhile"
            raise DsopsError(f"the way back failed: {ended.reason}", mend=mend)
        return ended.state
    for _ in range(LOOKS):
        if is_driven(door):
            return state
        door.sleep(1.0)
    prove_move(door, move)
    return ask(door, "state")


@click.command()
@click.argument("unit", type=click.Choice(["slot", "gateway"]), default="slot")
@person
@as_json
@click.pass_obj
def restart(door: Door, unit: str, who: str, reason: str, as_json: bool) -> None:
    """Restarts the Triton that has the traffic, or the gateway; what is in flight is lost."""
    state = ask(door, "restart", timeout=RESTART_SECONDS, unit=unit, who=who, reason=reason)
    say(as_json, f"the {unit} was restarted", {"ok": True, "state": to_data(state)})


@click.command()
@person
@as_json
@click.pass_obj
def clear(door: Door, who: str, reason: str, as_json: bool) -> None:
    """Lets dsops act by itself again, with its whole budget.

    What its checks hold against this server is over, too, and the breaker is reset; what goes on is found again.
    """
    state = ask(door, "clear", who=who, reason=reason)
    say(as_json, "dsops may act by itself again", {"ok": True, "state": to_data(state)})


@click.command()
@click.option("--epoch", type=click.IntRange(0), required=True, help="The number to believe from now on.")
@click.option("--holder", required=True, help="Who gives it.")
@person
@as_json
@click.pass_obj
def adopt(door: Door, epoch: int, holder: str, who: str, reason: str, as_json: bool) -> None:
    """Believes another control host, such as one that was restored."""
    was = to_data(ask(door, "state"))["epoch"]
    state = ask(door, "adopt", epoch=epoch, holder=holder, who=who, reason=reason)
    say(as_json, f"epoch {epoch} of {holder}", {"ok": True, "state": to_data(state), "was": was})


@click.command()
@as_json
@click.pass_obj
def recover(door: Door, as_json: bool) -> None:
    """Goes on with a move that was cut; the agent does it by itself.

    After the hot tier was lost, and its store begun anew, it says what the cold one still holds.
    """
    said = call(door.helper, "recover")
    lost = tell_lost(door)
    say(as_json, "; ".join(said["did"]) or lost or "nothing is left undone", said | {"lost": lost})


COMMANDS = (rollback, restart, clear, adopt, recover)
