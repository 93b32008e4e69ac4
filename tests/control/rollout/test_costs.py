"""How a release comes in on a node, as the node's own figures say it."""

from dataclasses import replace

from dsops.control.fleet.inventory import Server
from dsops.control.fleet.releases import Listed
from dsops.control.rollout.costs import Place, find_place
from dsops.control.rollout.holdings import Holdings, parse_holdings
from dsops.control.rollout.preflight import Known
from dsops.core.errors import DsopsError
from dsops.core.placement import Memory, Way
from dsops.core.rollout_events import Seen
from dsops.core.status import Gpu, Phase, Slot

from tests.control.fleet.test_rollback import fine
from tests.control.rollout.world import NEW, OLD

GB = 10**9
CPU = (
    Listed(OLD, "active", engine="openvino", bytes=4 * GB, seconds=9.0),
    Listed(NEW, "held", engine="openvino", bytes=4 * GB, seconds=63.0),
)
GPUS = tuple(replace(one, engine="vllm", bytes=80 * GB) for one in CPU)


def know(
    name: str, *, free: int = 10, listed: tuple[Listed, ...] = CPU, gpus: tuple[Gpu, ...] = (), said: bool = True
) -> Known:
    slots = (Slot("a", OLD, "active", Phase.SERVING, ""), Slot("b", "", "inactive", Phase.STOPPED, ""))
    status = fine(name, release=OLD, gpus=gpus, slots=slots, slot="a")
    memory = Memory(free * GB, 16 * GB) if said else None
    return Known(Server(name, ("gpu",), {}, "x"), Seen(name, active=OLD), status, Holdings(listed, memory))


def place(known: Known, *peers: Known) -> Place:
    found = find_place(known, NEW, peers=peers, unavailable=0)
    assert isinstance(found, Place), found
    return found


def gpu(index: int, *, used: int) -> Gpu:
    return Gpu(index, "H100", f"GPU-{index}", 40, used * GB, 80 * GB, None, None)


def test_where_both_fit_it_comes_beside_and_costs_no_capacity() -> None:
    found = place(know("gpu1"))
    assert (found.way, found.alone) == (Way.BESIDE, False)
    assert found.cost
    assert (found.cost.lost_seconds, found.cost.full_seconds) == (0.0, 63.0)


def test_where_they_do_not_the_node_is_drained_and_its_peers_carry_it() -> None:
    found = place(know("gpu1", free=3), know("gpu2"), know("gpu3"))
    assert (found.way, found.alone) == (Way.DRAIN, True)
    assert found.cost
    assert (round(found.cost.capacity, 2), found.cost.lost_seconds) == (0.33, 183.0)


def test_the_last_of_its_pool_is_not_drained() -> None:
    found = find_place(know("gpu1", free=3), NEW, peers=(), unavailable=0)
    assert isinstance(found, DsopsError)
    assert "gpu1 is the last that serves of its pool" in found.what
    assert found.where == "gpu1"


def test_the_last_of_its_pool_is_drained_once_a_spare_node_serves() -> None:
    spare = know("gpu2")
    spare = replace(spare, seen=Seen("gpu2", is_serving=False))
    found = place(know("gpu1", free=3), spare)
    assert (found.way, found.alone) == (Way.SPARE, True)
    assert found.says == "drained once a spare node serves it, for two copies do not fit"
    assert found.why[-2:] == ("gpu2 is spare and has room", "drained once that one serves")
    assert found.cost
    assert (found.cost.capacity, found.cost.lost_seconds) == (0.5, 183.0)
    first = place(spare, know("gpu1"))
    assert (first.says, first.alone) == ("whole: it serves nothing yet", False)


def test_a_spare_node_helps_none_that_is_too_small_and_none_that_is_drained_is_spare() -> None:
    spare = know("gpu2", free=16)
    spare = replace(spare, seen=Seen("gpu2", is_serving=False))
    small = know("gpu1", listed=(CPU[0], replace(CPU[1], bytes=12 * GB)))
    found = find_place(small, NEW, peers=(spare,), unavailable=0)
    assert isinstance(found, DsopsError)
    said = "once that one serves: not drained: not even alone: it needs 14.40 GB of memory, 14.00 GB are free"
    assert said in found.what
    drained = replace(spare, seen=Seen("gpu2", is_serving=False, drained="a fan (kim)"))
    assert isinstance(find_place(know("gpu1", free=3), NEW, peers=(drained,), unavailable=0), DsopsError)


def test_what_fits_nowhere_is_refused_with_its_figures() -> None:
    found = find_place(
        know("gpu1", free=0, listed=(CPU[0], replace(CPU[1], bytes=100 * GB))), NEW, peers=(), unavailable=0
    )
    assert isinstance(found, DsopsError)
    assert "it needs 120.00 GB of memory" in found.what


def test_on_gpus_the_memory_of_the_gpus_decides() -> None:
    full = (gpu(0, used=70), gpu(1, used=70))
    assert place(know("gpu1", listed=GPUS, gpus=full), know("gpu2")).way is Way.DRAIN
    empty = (gpu(0, used=10), gpu(1, used=10))
    assert place(know("gpu1", listed=GPUS, gpus=empty)).way is Way.BESIDE


def test_a_node_that_does_not_say_how_much_is_free_refuses_by_itself() -> None:
    found = place(know("gpu1", said=False))
    assert (found.way, found.cost) == (Way.BESIDE, None)
    assert "refuses by itself" in found.why[0]


def test_an_older_node_says_less() -> None:
    assert parse_holdings('{"releases": []}', where="gpu1").memory is None
    assert parse_holdings('{"releases": [], "memory": {}}', where="gpu1").memory is None
    assert parse_holdings('{"releases": [], "memory": {"free": 1, "total": 2}}', where="x").memory == Memory(1, 2)
