"""Waves: never more of a pool at once than may be, never the last that serves, gpu servers first."""

from dsops.core.waves import Live, Member, count_capacity, count_pools, find_obstacle, get_most, make_waves
from hypothesis import given, settings
from hypothesis import strategies as st

POOLS = ("h100", "a100", "t4")


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Member, ...]:
    """Up to thirty gpu servers, each in a second pool, some balancers, one that monitors."""
    gpus = [("gpu", draw(st.sampled_from(POOLS))) for _ in range(draw(st.integers(0, 24)))]
    lbs = draw(st.integers(0, 3))
    members = [Member(f"gpu{i}", "gpu", pools) for i, pools in enumerate(gpus)]
    members += [Member(f"lb{i}", "lb", ("lb",)) for i in range(lbs)]
    return (*members, Member("mon1", "mon", ("mon",)))


@settings(max_examples=40)
@given(fleet=fleets(), asked=st.none() | st.integers(1, 40), data=st.data())
def test_every_server_that_changes_is_in_one_wave_and_no_wave_has_too_many_of_a_pool(
    fleet: tuple[Member, ...], asked: int | None, data: st.DataObject
) -> None:
    changed = data.draw(st.sets(st.sampled_from([one.name for one in fleet])))
    waves = make_waves(fleet, changed, asked=asked)
    assert sorted(name for wave in waves for name in wave) == sorted(changed)
    sizes = count_pools(fleet)
    for wave in waves:
        for pool, count in count_pools([one for one in fleet if one.name in wave]).items():
            assert count <= get_most(sizes[pool], asked)
            assert count < sizes[pool] or sizes[pool] == 1


@settings(max_examples=40)
@given(fleet=fleets(), asked=st.none() | st.integers(1, 40))
def test_gpu_servers_come_first_and_the_first_of_a_kind_alone(fleet: tuple[Member, ...], asked: int | None) -> None:
    waves = make_waves(fleet, {one.name for one in fleet}, asked=asked)
    roles = {one.name: one.role for one in fleet}
    order = [roles[wave[0]] for wave in waves]
    assert order == sorted(order, key=lambda role: (role != "gpu", order.index(role)))
    for role in set(order):
        assert len(waves[order.index(role)]) == 1
    assert all(len({roles[name] for name in wave}) == 1 for wave in waves)


@settings(max_examples=40)
@given(fleet=fleets(), asked=st.none() | st.integers(1, 40), data=st.data())
def test_a_wave_that_may_begin_leaves_one_that_serves_in_every_pool(
    fleet: tuple[Member, ...], asked: int | None, data: st.DataObject
) -> None:
    names = [one.name for one in fleet]
    out = data.draw(st.sets(st.sampled_from(names)))
    served = data.draw(st.sets(st.sampled_from(names)))
    serving = data.draw(st.sets(st.sampled_from(names)))
    live = Live(frozenset(served), frozenset(serving))
    if find_obstacle(fleet, out, live, asked=asked):
        return
    for pool, size in count_pools([one for one in fleet if one.role in {"gpu", "lb"}]).items():
        members = {one.name for one in fleet if pool in one.pools}
        going = members & out & serving
        assert not going or (members & serving) - out
        assert not going or len(going | ((members & served) - serving)) <= get_most(size, asked)


def fleet(count: int) -> tuple[Member, ...]:
    return tuple(Member(f"gpu{i}", "gpu", ("gpu",)) for i in range(1, count + 1))


def live(serving: set[str], served: set[str] | None = None) -> Live:
    return Live(frozenset(serving if served is None else served), frozenset(serving))


def test_a_tenth_of_a_pool_changes_at_once_after_its_first_server() -> None:
    waves = make_waves(fleet(30), {f"gpu{i}" for i in range(1, 31)})
    assert [len(wave) for wave in waves] == [1, *[3] * 9, 2]


def test_more_may_be_asked_for_but_never_all() -> None:
    assert [len(wave) for wave in make_waves(fleet(4), {"gpu1", "gpu2", "gpu3", "gpu4"}, asked=9)] == [1, 3]
    assert get_most(1, 9) == 1


def test_a_server_that_was_lost_meanwhile_counts_as_out() -> None:
    said = find_obstacle(fleet(3), {"gpu2"}, live({"gpu2", "gpu3"}, {"gpu1", "gpu2", "gpu3"}))
    assert said == "2 of pool gpu would be out, 1 may be: gpu1 served when this began and does not any more"


def test_the_last_of_a_pool_stays_unless_that_is_agreed_to() -> None:
    assert find_obstacle(fleet(1), {"gpu1"}, live({"gpu1"})) == "gpu1 is the last that serves of pool gpu"
    assert not find_obstacle(fleet(1), {"gpu1"}, live({"gpu1"}), outage=True)


def test_a_fresh_server_takes_nothing_away() -> None:
    assert not find_obstacle(fleet(2), {"gpu1"}, live({"gpu2"}))
    assert not find_obstacle(fleet(2), {"gpu1"}, live(set()))


def test_what_serves_meanwhile_is_counted_for_the_pools_concerned() -> None:
    mon = Member("mon1", "mon", ("mon",))
    (gpu,) = count_capacity((*fleet(3), mon), {"gpu2", "mon1"})
    assert (gpu.pool, gpu.serve, gpu.of) == ("gpu", 2, 3)
