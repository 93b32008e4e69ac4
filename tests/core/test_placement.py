"""How a release comes in: never where it does not fit, never by taking the last one, always with reason and cost."""

from dataclasses import replace

from dsops.core.placement import (
    LANES_SECONDS,
    RESERVE,
    Memory,
    Need,
    Peer,
    Question,
    Room,
    Way,
    find_placement,
    find_shortage,
)
from hypothesis import given, settings
from hypothesis import strategies as st

GB = 10**9
ORDER = list(Way)


def room(free: int, total: int = 100, *, gpus: tuple[tuple[int, int], ...] = ()) -> Room:
    return Room(Memory(free * GB, total * GB), tuple(Memory(one * GB, all_ * GB) for one, all_ in gpus))


def ask(free: int, need: int = 40, **fields: object) -> Question:
    comes = Need(need * GB, load_seconds=60.0, prove_seconds=5.0)
    runs = Need(40 * GB, load_seconds=90.0, prove_seconds=5.0)
    return replace(Question("gpu1", room(free), comes, runs), **fields)  # type: ignore[arg-type]


def peers(serving: int, *, out: int = 0) -> tuple[Peer, ...]:
    return (*(Peer(f"up{i}", True) for i in range(serving)), *(Peer(f"down{i}", False) for i in range(out)))


def test_two_copies_that_fit_cost_no_capacity_and_a_lane_to_go_back() -> None:
    found = find_placement(ask(48))
    assert (found.way, found.node, found.reasons) == (Way.BESIDE, "gpu1", ("both releases fit side by side",))
    assert found.cost
    assert (found.cost.capacity, found.cost.full_seconds, found.cost.back_seconds) == (0.0, 65.0, LANES_SECONDS)


def test_what_the_other_slot_holds_ends_first() -> None:
    assert find_placement(ask(20, warm=Need(30 * GB))).way is Way.BESIDE
    assert find_placement(ask(20, warm=Need(10 * GB), peers=peers(3))).way is Way.DRAIN


def test_where_they_do_not_fit_the_node_is_drained_and_its_peers_carry_the_load() -> None:
    found = find_placement(ask(10, peers=peers(9)))
    assert found.way is Way.DRAIN
    assert found.reasons[0] == "no second slot: it needs 48.00 GB of memory, 10.00 GB are free"
    assert found.cost
    assert (found.cost.capacity, found.cost.lost_seconds) == (0.1, 185.0)
    assert (found.cost.full_seconds, found.cost.back_seconds) == (185.0, 215.0)


def test_the_last_that_serves_is_not_drained() -> None:
    for others in ((), peers(0, out=2)):
        found = find_placement(ask(10, peers=others))
        assert (found.way, found.cost) == (Way.REFUSE, None)
        assert found.reasons[1:] == ("not drained: gpu1 is the last that serves of its pool", "no spare node")


def test_nobody_is_drained_while_as_many_are_out_as_may_be() -> None:
    found = find_placement(ask(10, peers=peers(8, out=1)))
    assert (found.way, found.reasons[1]) == (Way.REFUSE, "not drained: down0 are out already, 1 may be")
    assert find_placement(ask(10, peers=peers(8, out=1), unavailable=2)).way is Way.DRAIN


def test_a_spare_node_takes_it_where_this_one_must_stay() -> None:
    full, free = Peer("s1", False, True, room(5)), Peer("s2", False, True, room(90))
    found = find_placement(ask(10, peers=(full, free)))
    assert (found.way, found.node) == (Way.SPARE, "s2")
    assert found.reasons[2:] == (
        "not on s1: it needs 48.00 GB of memory, 5.00 GB are free",
        "s2 is spare and has room",
    )


def test_a_node_that_serves_nothing_is_nobodys_loss() -> None:
    found = find_placement(ask(10, is_serving=False))
    assert found.way is Way.DRAIN
    assert found.cost
    assert (found.cost.capacity, found.cost.lost_seconds, found.cost.full_seconds) == (0.0, 0.0, 65.0)


def test_what_is_too_large_for_the_whole_node_is_refused_with_the_figures() -> None:
    found = find_placement(ask(10, need=90, peers=peers(9)))
    assert found.way is Way.REFUSE
    assert "not even alone: it needs 108.00 GB of memory, 50.00 GB are free" in found.reasons[1]


def test_every_gpu_must_have_room() -> None:
    need = Need(1 * GB, gpu=60 * GB, gpus=2)
    assert not find_shortage(room(50, gpus=((75, 80), (75, 80))), need)
    assert find_shortage(room(50, gpus=((75, 80), (10, 80))), need) == (
        "it needs 72.00 GB on each of 2 GPUs, 10.00 GB are free"
    )
    assert find_shortage(room(50, gpus=((75, 80),)), need) == "it needs 2 GPUs, there are 1"
    # Of four GPUs two are free; what runs on the full ones may stay.
    assert not find_shortage(room(50, gpus=((75, 80), (3, 80), (75, 80), (3, 80))), need)
    # Those that it runs on are free once it has ended.
    assert not find_shortage(room(50, gpus=((10, 80), (10, 80))), need, frees=(Need(0, 65 * GB, 2),))


memories = st.tuples(st.integers(0, 120), st.integers(1, 120)).map(lambda two: Memory(min(two) * GB, max(two) * GB))
rooms = st.builds(Room, memories, st.lists(memories, max_size=3).map(tuple))
needs = st.builds(
    Need, st.integers(0, 100).map(lambda g: g * GB), st.integers(0, 90).map(lambda g: g * GB), st.integers(0, 3),
    st.floats(0, 600),
)  # fmt: skip
peer_lists = st.lists(
    st.builds(Peer, st.sampled_from("abcd"), st.booleans(), st.just(False), st.none() | rooms)
    | st.builds(Peer, st.sampled_from("xyz"), st.just(False), st.just(True), st.none() | rooms),
    max_size=12,
).map(tuple)
questions = st.builds(
    Question, st.just("gpu1"), rooms, needs, st.none() | needs, st.none() | needs, st.booleans(), peer_lists,
    st.integers(0, 3),
)  # fmt: skip


def find_serving(asked: Question) -> list[Peer]:
    return [peer for peer in asked.peers if peer.is_serving]


@settings(max_examples=120)
@given(asked=questions)
def test_whatever_is_chosen_fits_and_leaves_the_pool_alive(asked: Question) -> None:
    found = find_placement(asked)
    assert found.reasons
    assert (found.cost is None) == (found.way is Way.REFUSE)
    if found.way is Way.BESIDE:
        freed = asked.warm.host if asked.warm else 0
        assert asked.room.host.free + freed >= asked.comes.host * (1 + RESERVE)
    if found.way is Way.DRAIN and asked.is_serving:
        out = sum(not peer.is_serving and not peer.is_spare for peer in asked.peers)
        assert find_serving(asked)
        assert out + 1 <= max(1, asked.unavailable, (len(asked.peers) + 1) // 10)
    if found.way is Way.SPARE:
        assert any(peer.node == found.node and peer.is_spare and peer.room for peer in asked.peers)
    if found.way in (Way.DRAIN, Way.BESIDE):
        assert asked.comes.host * (1 + RESERVE) <= asked.room.host.total


@settings(max_examples=60)
@given(asked=questions, more=st.integers(0, 100))
def test_more_free_memory_never_makes_it_dearer(asked: Question, more: int) -> None:
    wider = replace(asked, room=replace(asked.room, host=_widen(asked.room.host, more)))
    assert ORDER.index(find_placement(wider).way) <= ORDER.index(find_placement(asked).way)


@settings(max_examples=60)
@given(asked=questions)
def test_what_it_costs_can_be_believed(asked: Question) -> None:
    cost = find_placement(asked).cost
    if cost is None:
        return
    assert 0 <= cost.capacity <= 1
    assert (cost.capacity > 0) == (cost.lost_seconds > 0)
    assert cost.safe_seconds <= LANES_SECONDS <= cost.back_seconds + cost.safe_seconds
    assert cost.full_seconds >= asked.comes.load_seconds


def _widen(memory: Memory, more: int) -> Memory:
    return Memory(memory.free + more * GB, memory.total + more * GB)
