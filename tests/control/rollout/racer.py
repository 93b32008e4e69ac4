"""A controller as a process of its own, for races: it gives an order to real helpers of nodes at every look.

python -m tests.control.rollout.racer ROOT start|resume
"""

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from dsops.control.rollout.doors import Order, Told
from dsops.control.rollout.lock import hold_rollout
from dsops.control.rollout.store import FencedError, Store
from dsops.core.errors import DsopsError
from dsops.core.rollout_events import Effect, Event, Look, Seen, Widen
from dsops.core.rollout_state import Rollout
from dsops.core.state import Epoch
from dsops.node.helper.client import call

from tests.control.rollout.world import NEW, OLD, Heard, make_runner, make_world, start

NODES = ("gpu1", "gpu2", "gpu3")
FENCED, HELD = 3, 4


@dataclass
class NodeDoors:
    """Orders go to the nodes' helpers: their epoch is checked and journalled there.

    Nothing is active there, so that each is refused in the end; whether for its epoch is what counts.
    """

    folder: Path

    def look(self) -> tuple[Seen, ...]:
        return tuple(Seen(name, active=OLD) for name in NODES)

    def find_alerts(self) -> tuple[str, ...]:
        return ()

    def tell(self, order: Order, epoch: Epoch, *, reason: str) -> Told:
        words = {"who": "racer", "reason": reason, "epoch": epoch.number, "holder": epoch.holder}
        try:
            call(find_socket(self.folder, order.node), "rollback", timeout=5, **words)
        except DsopsError as error:
            refused = "" if error.what.startswith("nothing is active") else error.what
            say(node=order.node, epoch=epoch.number, refused=refused)
            return Told(refused=refused)
        raise AssertionError("nothing is active there")


def find_socket(folder: Path, node: str) -> Path:
    """Where a node's helper listens."""
    return folder / f"{node}.sock"


def say(**words: object) -> None:
    """One line, at once, even when one is stopped just after."""
    print(json.dumps({"at": time.time(), **words}), flush=True)


def order_always(rollout: Rollout, event: Event) -> tuple[Rollout, tuple[Effect, ...]]:
    """A brain that never rests."""
    if not isinstance(event, Look):
        return rollout, ()
    return replace(rollout, seen_at=event.at), tuple(Widen(name, NEW, 5) for name in NODES)


def main(root: Path, how: str) -> int:
    store = Store(root / "state", root / "inventory/site.py")
    try:
        with hold_rollout(store.folder, store.inventory, who=how, what="a race"):
            kept = start(store, make_world(3)) if how == "start" else store.take_over(who=how, says="goes on", at=1.0)
            say(began=kept.epoch.number)
            runner = make_runner(store, kept, make_world(3), Heard())
            doors = NodeDoors(root)
            runner.desk.doors = doors
            replace(runner, doors=doors, step=order_always, sleep=lambda _: time.sleep(0.05), now=time.time).go()
    except FencedError as error:
        say(fenced=error.what)
        return FENCED
    except DsopsError as error:
        say(error=error.what)
        return HELD
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
