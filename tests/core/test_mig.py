"""Layouts of divided GPUs: what they mean, where their instances lie, what is impossible and why."""

import itertools
import math
from collections import Counter

import pytest
from dsops.catalog.gpus import find_kind as find_gpu
from dsops.catalog.mig import find_kind, read_kinds
from dsops.core.errors import DsopsError
from dsops.core.mig import (
    Binding,
    Kind,
    Part,
    Place,
    check_bindings,
    find_places,
    parse_bindings,
    parse_layout,
    parse_layouts,
)
from dsops.core.mig_plan import Change, Gpu, Instance, find_wrong, get_device, plan_gpu
from hypothesis import given
from hypothesis import strategies as st


def kind_of(device: str) -> Kind:
    found = find_kind(device)
    assert found
    return found


A100_40, A100_80, H100 = kind_of("20b0"), kind_of("20B2"), kind_of("2330")
A30, H200 = kind_of("20b7"), kind_of("2335")
T4 = Gpu(0, "Tesla T4", "1eb8", "GPU-t4")


def place(kind: Kind, layout: str) -> list[str]:
    return [f"{one.profile}@{one.start}" for one in find_places(kind, parse_layout(layout))]


def gpu(*instances: Instance, mode: bool | None = True, pending: bool | None = None) -> Gpu:
    return Gpu(0, "A100", "20b0", "GPU-0", mode, mode if pending is None else pending, instances)


def made(kind: Kind, layout: str) -> tuple[Instance, ...]:
    """What the driver would tell once that layout is there."""
    return tuple(
        Instance(index + 1, kind.find(one.profile).id, one.start, uuid=f"MIG-{one.start}")  # type: ignore[union-attr]
        for index, one in enumerate(find_places(kind, parse_layout(layout)))
    )


def refusal(kind: Kind, layout: str) -> str:
    with pytest.raises(DsopsError) as caught:
        find_places(kind, parse_layout(layout))
    assert caught.value.mend
    return caught.value.what


# --- the catalog ---


def test_every_profile_lies_within_its_gpu_and_as_often_as_it_says() -> None:
    for kind in read_kinds():
        assert len({one.id for one in kind.profiles}) == len({one.name for one in kind.profiles}) == len(kind.profiles)
        for profile in kind.profiles:
            assert all(0 <= start <= kind.slices - profile.size for start in profile.starts)
            assert find_places(kind, (Part(profile.name),) * profile.most)
            if not profile.name.endswith("+me"):
                assert len(profile.starts) == profile.most


def test_names_and_memory_of_the_profiles_are_of_one_piece() -> None:
    """`3g.20gb` offers 20 GB less what the driver keeps, in proportion to its slices of memory."""
    for kind in read_kinds():
        gigabytes = int(kind.name.split()[-1].removesuffix("GB"))
        for profile in kind.profiles:
            named = int(profile.name.split(".")[1].split("gb")[0])
            assert named == math.floor(gigabytes * profile.size / kind.slices + 0.5)
            assert 0.88 * named < profile.memory_mib / 1024 < named


def test_each_device_is_the_product_that_the_list_of_gpus_says() -> None:
    for kind in read_kinds():
        for id in kind.ids:
            known = find_gpu(id)
            assert known
            assert known.memory_gb == int(kind.name.split()[-1].removesuffix("GB"))
    assert find_kind("1eb8") is None  # a T4 cannot be divided


# --- layouts ---


@pytest.mark.parametrize(
    ("kind", "layout", "wanted"),
    [
        (A100_80, "7x1g.10gb", [f"1g.10gb@{start}" for start in range(7)]),
        (A100_40, "7 x 1g.5gb", [f"1g.5gb@{start}" for start in range(7)]),
        (A100_40, "2x3g.20gb", ["3g.20gb@0", "3g.20gb@4"]),
        (A100_40, "4g.20gb, 2g.10gb, 1g.5gb", ["4g.20gb@0", "2g.10gb@4", "1g.5gb@6"]),
        (A100_40, "3g.20gb, 4x1g.5gb", ["1g.5gb@0", "1g.5gb@1", "1g.5gb@2", "1g.5gb@3", "3g.20gb@4"]),
        (A100_40, "1g.10gb@6, 3x2g.10gb", ["2g.10gb@0", "2g.10gb@2", "2g.10gb@4", "1g.10gb@6"]),
        (H100, "7g.80gb", ["7g.80gb@0"]),
        (H100, "1g.10gb+me, 6x1g.10gb", ["1g.10gb@0", *[f"1g.10gb@{start}" for start in range(1, 6)], "1g.10gb+me@6"]),
        (H100, "off", []),
        (H200, "3g.71gb, 1g.35gb, 2x1g.18gb", ["3g.71gb@0", "1g.18gb@4", "1g.18gb@5", "1g.35gb@6"]),
        (A30, "2g.12gb, 2x1g.6gb", ["2g.12gb@0", "1g.6gb@2", "1g.6gb@3"]),
    ],
)
def test_instances_lie_where_the_gpu_allows(kind: Kind, layout: str, wanted: list[str]) -> None:
    assert place(kind, layout) == wanted


@pytest.mark.parametrize(
    ("kind", "layout", "words"),
    [
        (A100_40, "7x1g.10gb", "A100 40GB holds 4 of 1g.10gb at most, 7 are wanted"),
        (A100_40, "3x3g.20gb", "holds 2 of 3g.20gb at most, 3 are wanted"),
        (A100_40, "2x3g.20gb, 1g.5gb", "it takes 9 slices of memory, there are 8 (1g.5gb takes 1, 3g.20gb takes 4)"),
        (A100_40, "4g.20gb, 4x1g.5gb", "would overlap: 1g.5gb may begin at 0 1 2 3 4 5 6, 4g.20gb may begin at 0"),
        (A100_40, "4g.20gb@4", "4g.20gb cannot begin at slice 4"),
        (A100_40, "1g.5gb@0, 4g.20gb", "would overlap"),
        (A30, "4g.24gb, 1g.6gb", "it takes 5 slices of memory, there are 4 (1g.6gb takes 1, 4g.24gb takes 4)"),
        (H100, "1g.5gb", "H100 80GB has no profile 1g.5gb"),
    ],
)
def test_an_impossible_layout_is_refused_with_the_reason(kind: Kind, layout: str, words: str) -> None:
    assert words in refusal(kind, layout)


def parts(kind: Kind) -> st.SearchStrategy[list[Part]]:
    return st.lists(st.sampled_from([Part(one.name) for one in kind.profiles]), max_size=5)


@given(st.sampled_from(read_kinds()).flatmap(lambda kind: st.tuples(st.just(kind), parts(kind))))
def test_a_layout_is_refused_when_and_only_when_no_way_of_laying_it_exists(asked: tuple[Kind, list[Part]]) -> None:
    kind, wanted = asked
    profiles = [profile for part in wanted if (profile := kind.find(part.profile))]
    allowed = all(count <= profile.most for profile, count in Counter(profiles).items())
    ways = itertools.product(*(one.starts for one in profiles))
    exists = allowed and any(_is_apart(way, [one.size for one in profiles], kind.slices) for way in ways)
    try:
        found = find_places(kind, wanted)
    except DsopsError:
        assert not exists
        return
    assert exists
    assert Counter(one.profile for one in found) == Counter(part.profile for part in wanted)
    sizes = [profile.size for one in found if (profile := kind.find(one.profile))]
    assert _is_apart([one.start for one in found], sizes, kind.slices)
    assert find_places(kind, list(reversed(wanted))) == found


def _is_apart(starts: list[int] | tuple[int, ...], sizes: list[int], slices: int) -> bool:
    used = [slice_ for start, size in zip(starts, sizes, strict=True) for slice_ in range(start, start + size)]
    return len(used) == len(set(used)) and all(slice_ < slices for slice_ in used)


@pytest.mark.parametrize("text", ["", "7", "1g", "0x1g.5gb", "2x3g.20gb@0", "1g.5gb;2g.10gb", "all", "1g.5gb,"])
def test_what_is_no_layout_is_refused(text: str) -> None:
    with pytest.raises(DsopsError, match="is no part of a layout"):
        parse_layout(text)


def test_one_layout_is_for_all_gpus_else_each_has_its_own() -> None:
    assert parse_layouts(["2x1g.5gb"], gpus=2) == ((Part("1g.5gb"),) * 2,) * 2
    assert parse_layouts(["1g.5gb", "off"], gpus=2) == ((Part("1g.5gb"),), ())
    with pytest.raises(DsopsError, match="2 layouts for 8 GPUs"):
        parse_layouts(["off", "off"], gpus=8)


# --- slots ---


def test_slots_are_bound_to_instances_or_whole_gpus() -> None:
    assert parse_bindings(["a: 0/0", "b:1"]) == {"a": Binding(0, 0), "b": Binding(1)}
    assert parse_bindings([]) == {}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a: 0/0"], "slot b is bound to nothing"),
        (["a: 0/0", "a: 0/1"], "'a: 0/1' binds no slot"),
        (["c: 0/0"], "binds no slot"),
        (["a: x"], "binds no slot"),
    ],
)
def test_a_binding_that_says_too_little_is_refused(texts: list[str], words: str) -> None:
    with pytest.raises(DsopsError, match=words):
        parse_bindings(texts)


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        (["a: 0/0", "b: 0/2"], "GPU 0 is to have 2 instances, none has the number 2"),
        (["a: 0/0", "b: 0"], "GPU 0 is divided, and cannot be used as a whole"),
        (["a: 0/0", "b: 2"], "there is no GPU 2, there are 2"),
        (["a: 0/0", "b: 1/0"], "GPU 1 is to have 0 instances"),
        ([], "no slot is bound"),
    ],
)
def test_a_slot_bound_to_what_will_not_be_there_is_refused(bound: list[str], words: str) -> None:
    layouts = parse_layouts(["2x1g.5gb", "off"], gpus=2)
    check_bindings(parse_bindings(["a: 0/1", "b: 1"]), layouts)
    with pytest.raises(DsopsError, match=words):
        check_bindings(parse_bindings(bound), layouts)


def test_a_slot_gets_the_instance_by_its_place_whatever_the_driver_lists_first() -> None:
    listed = tuple(reversed(made(A100_40, "2x3g.20gb")))
    seen = (gpu(*listed), Gpu(1, "A100", "20b0", "GPU-1", False, False))
    assert get_device(Binding(0, 0), seen) == "MIG-0"
    assert get_device(Binding(0, 1), seen) == "MIG-4"
    assert get_device(Binding(1), seen) == "GPU-1"
    for binding, words in ((Binding(0, 2), "has 2 instances"), (Binding(0), "is divided"), (Binding(2), "no GPU 2")):
        with pytest.raises(DsopsError, match=words):
            get_device(binding, seen)


# --- what must change ---


def test_a_gpu_that_is_as_wanted_is_left_alone() -> None:
    for layout in ("7x1g.5gb", "4g.20gb, 2g.10gb"):
        assert not plan_gpu(gpu(*made(A100_40, layout)), A100_40, parse_layout(layout))
    assert not plan_gpu(gpu(mode=False), A100_40, ())
    assert not plan_gpu(T4, None, ())


def test_what_is_in_the_way_is_destroyed_and_what_lies_right_is_kept() -> None:
    now = made(A100_40, "2x3g.20gb")
    change = plan_gpu(gpu(*now), A100_40, parse_layout("3g.20gb@0, 2g.10gb@4, 1g.5gb@6"))
    assert change == Change(
        0, (2,), None, (Place(4, "2g.10gb"), Place(6, "1g.5gb")), "destroys 3g.20gb@4; creates 1x2g.10gb, 1x1g.5gb"
    )


def test_a_whole_gpu_is_turned_on_first_and_a_divided_one_is_emptied_before_it_is_turned_off() -> None:
    assert plan_gpu(gpu(mode=False), A100_40, parse_layout("2x3g.20gb")).says == "turns MIG on; creates 2x3g.20gb"
    change = plan_gpu(gpu(*made(A100_40, "2x3g.20gb")), A100_40, ())
    assert change == Change(0, (1, 2), False, (), "destroys 3g.20gb@0, 3g.20gb@4; turns MIG off")
    assert plan_gpu(gpu(mode=False, pending=True), A100_40, ()).mode is False
    assert plan_gpu(gpu(mode=True, pending=False), A100_40, parse_layout("7g.40gb")).mode is True


@pytest.mark.parametrize("wrong", [{"computes": 2}, {"computes": 0, "uuid": ""}])
def test_an_instance_that_nothing_or_several_can_compute_on_is_made_anew(wrong: dict[str, int | str]) -> None:
    """As one that was cut between its two halves, or that somebody divided further by hand."""
    (one,) = made(A100_40, "7g.40gb")
    broken = Instance(one.id, one.profile, one.start, **{"uuid": one.uuid, **wrong})  # type: ignore[arg-type]
    assert plan_gpu(gpu(broken), A100_40, parse_layout("7g.40gb")).says == "destroys 7g.40gb@0; creates 1x7g.40gb"


@pytest.mark.parametrize(
    ("seen", "kind", "words"),
    [
        (T4, None, "GPU 0 (Tesla T4): it cannot be divided: it has no MIG"),
        (Gpu(3, "NVIDIA B9", "9999", "GPU-3", False, False), None, "GPU 3 (NVIDIA B9): nobody knows how a GPU 9999"),
        (Gpu(0, "A100", "20b0", "", lack="GPU is lost"), A100_40, "GPU 0 (A100): GPU is lost"),
        (gpu(mode=False), A100_40, "GPU 0 (A100): 7x1g.10gb does not fit A100 40GB"),
    ],
)
def test_a_gpu_that_cannot_be_divided_so_is_refused(seen: Gpu, kind: Kind | None, words: str) -> None:
    with pytest.raises(DsopsError) as caught:
        plan_gpu(seen, kind, parse_layout("7x1g.10gb"))
    assert str(caught.value).startswith(words)
    assert caught.value.mend


def test_a_mode_that_waits_for_a_reset_is_not_taken_for_done() -> None:
    assert "only after a reset" in find_wrong(gpu(mode=False, pending=True), A100_40, parse_layout("7g.40gb"))
    assert find_wrong(gpu(*made(A100_40, "7g.40gb")), A100_40, parse_layout("7g.40gb")) == ""
    assert find_wrong(gpu(), A100_40, parse_layout("7g.40gb")) == "creates 1x7g.40gb"
