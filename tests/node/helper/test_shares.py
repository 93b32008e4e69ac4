"""The helper and canaries: lanes really lead apart, and lead back whatever was lost; one that must come in alone."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.core.events import Stop
from dsops.core.lanes import LANES, find_lanes
from dsops.core.state import TURNS
from dsops.node.helper.peers import Peer
from dsops.node.store.journal import journal_path, read_history

from tests.node.helper.conftest import Talk
from tests.node.store.bed import Bed, FailingDisk, Made, Signer, make_root

WHY = {"who": "kim", "reason": "new"}


@pytest.fixture
def bed(signer: Signer) -> Iterator[Bed]:
    """In memory where there is room for it: none of it must last."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Bed(make_root(Path(folder) / "store"), signer)


def read_lanes(bed: Bed) -> dict[str, str]:
    return bed.desk().hands.pointers.read_lanes()


def count_share(bed: Bed, slot: str) -> int:
    """Percent of the traffic that its lanes bring."""
    return sum(LANES[lane] for lane, where in read_lanes(bed).items() if where == slot)


@pytest.fixture
def canary(talk: Talk, bed: Bed, one: Made, two: Made) -> Talk:
    """`one` serves in slot a, `two` has 5 % in slot b."""
    for made in (one, two):
        bed.push(made)
    talk.bring(one.id)
    bed.at += bed.config.bake_seconds
    talk("age")
    talk("activate", release=two.id, share=5, **WHY)
    talk("proven", release=two.id, evidence="8 of 8")
    return talk


def test_a_canary_comes_in_grows_and_takes_over(canary: Talk, bed: Bed, one: Made, two: Made) -> None:
    assert (count_share(bed, "b"), count_share(bed, "a")) == (5, 95)
    assert canary("list")["damage"] == []
    listed = {entry["release"]: entry for entry in canary("list")["releases"]}
    assert (listed[two.id]["state"], listed[two.id]["share"], listed[two.id]["slot"]) == ("canary", 5, "b")
    assert (listed[one.id]["state"], listed[one.id]["share"]) == ("active", 95)
    for share in (25, 50):
        move = canary("widen", release=two.id, share=share, **WHY)["state"]["move"]
        assert (move["step"], move["share"], count_share(bed, "b")) == ("canary", share, share)
    canary("widen", release=two.id, share=100, **WHY)
    assert bed.serves() == ("b", two.id)
    told = [(record.event, record.says) for record in read_history(journal_path(bed.root))][-7:]
    assert told == [
        ("canary", f"5 % of the traffic go to {two.id} in slot b"),
        ("widen", f"{two.id} is to get 25 % of the traffic: new"),
        ("canary", f"25 % of the traffic go to {two.id} in slot b"),
        ("widen", f"{two.id} is to get 50 % of the traffic: new"),
        ("canary", f"50 % of the traffic go to {two.id} in slot b"),
        ("widen", f"{two.id} is to get 100 % of the traffic: new"),
        ("switched", f"the traffic goes to {two.id} in slot b; slot a is kept warm"),
    ]
    assert bed.said[-1] == f"dsops: widen {two.id} 100 by kim: new"


@pytest.mark.parametrize("verb", ["rollback", "refuted"])
def test_a_refused_canary_gives_its_lanes_back_and_stops(
    canary: Talk, bed: Bed, one: Made, two: Made, verb: str
) -> None:
    canary.peer = Peer.AGENT
    words = {"own": True} if verb == "rollback" else {"release": two.id, "lasting": True}
    canary(verb, reason="three BAD", **words)
    assert bed.serves() == ("a", one.id)
    assert set(bed.systemd.since) == {"triton@a.service"} == bed.systemd.enabled
    listed = {entry["release"]: entry for entry in canary("list")["releases"]}
    assert (listed[two.id]["state"], listed[two.id]["bad"], listed[two.id]["slot"]) == ("bad", "three BAD", "")
    records = read_history(journal_path(bed.root))[-3:]
    assert [record.event for record in records] == ["refuted", "returned", "tidied"]
    assert records[0].says.endswith(f"three BAD; the lanes lead back to {one.id}")


def test_the_agent_may_not_widen(canary: Talk, two: Made) -> None:
    canary.peer = Peer.AGENT
    with pytest.raises(DsopsError, match="agent may not ask for widen"):
        canary("widen", release=two.id, share=100, **WHY)


def test_an_older_control_host_widens_nothing(canary: Talk, bed: Bed, one: Made, two: Made) -> None:
    with pytest.raises(DsopsError, match="is no canary here"):
        canary("widen", release=one.id.replace("r", "r0")[:13], share=25, epoch=7, holder="east", **WHY)
    with pytest.raises(DsopsError, match="epoch 6 is older than 7"):
        canary("widen", release=two.id, share=25, epoch=6, holder="east", **WHY)
    assert count_share(bed, "b") == 5
    canary("widen", release=two.id, share=25, epoch=7, holder="east", **WHY)
    assert count_share(bed, "b") == 25


@pytest.mark.parametrize("share", ["25", 25.0, True, -1, None])
def test_a_share_is_a_whole_number(canary: Talk, two: Made, share: object) -> None:
    with pytest.raises(DsopsError, match="share should be a whole number"):
        canary("widen", release=two.id, share=share, **WHY)


def test_a_lane_of_a_canary_that_was_turned_by_hand_is_turned_back(canary: Talk, bed: Bed) -> None:
    for lane, slot in (("l1", "a"), ("l50", "b")):
        (bed.root / "lanes" / lane).unlink()
        (bed.root / "lanes" / lane).symlink_to(f"../slots/{slot}")
    assert canary("list")["damage"] == ["lane l1 leads to slot a, not to b", "lane l50 leads to slot b, not to a"]
    canary("recover")
    assert canary("list")["damage"] == []
    assert count_share(bed, "b") == 5


@pytest.mark.parametrize("share", [5, 25, 50])
def test_a_canary_whose_journal_was_lost_gives_its_lanes_back(
    canary: Talk, bed: Bed, one: Made, two: Made, share: int
) -> None:
    if share > 5:
        canary("widen", release=two.id, share=share, **WHY)
    journal_path(bed.root).write_bytes(b"x" * 2_000_000)
    bed.desk().moves.begin()
    assert bed.serves() == ("a", one.id)
    state, _ = bed.desk().moves.read()
    assert state.active
    assert (state.active.release, state.move) == (one.id, None)
    assert "lane l1 leads to slot b, not to a" in read_history(journal_path(bed.root))[-1].says


@pytest.mark.parametrize("lost", [("l50",), ("l1", "l4", "l20"), ("l1", "l4", "l20", "l25", "l50")])
def test_what_has_most_of_the_traffic_is_active_where_links_are_lost_too(
    canary: Talk, bed: Bed, one: Made, lost: tuple[str, ...]
) -> None:
    journal_path(bed.root).unlink()
    for lane in lost:
        (bed.root / "lanes" / lane).unlink()
    bed.desk().moves.begin()
    active = bed.desk().moves.read()[0].active
    has_one = len(lost) < 5
    assert (active.release if active else "") == (one.id if has_one else "")
    assert bed.serves() == (("a", one.id) if has_one else ("", ""))


def test_a_stable_lane_that_leads_to_an_empty_slot_does_not_count(canary: Talk, bed: Bed, two: Made) -> None:
    journal_path(bed.root).unlink()
    (bed.root / "slots/a").unlink()
    bed.desk().moves.begin()
    assert bed.serves() == ("b", two.id)


def test_a_restart_of_the_slot_is_that_of_the_active_one(canary: Talk, bed: Bed) -> None:
    before = bed.systemd.since["triton@b.service"]
    bed.systemd.now += 100
    canary("restart", unit="slot", **WHY)
    assert bed.systemd.since["triton@a.service"] > before
    assert bed.systemd.since["triton@b.service"] == before


def test_a_canary_stays_on_the_hot_tier_and_on_the_disk(canary: Talk, two: Made) -> None:
    with pytest.raises(DsopsError, match="in use"):
        canary("remove", release=two.id, **WHY)


# --- alone ---------------------------------------------------------------------------------------------------------


def fill(bed: Bed) -> None:
    """So little memory that the release fits only when what runs has ended."""
    (bed.root / "meminfo").write_text("MemTotal: 8 kB\nMemAvailable: 1 kB\n")


def test_alone_the_active_slot_is_gone_before_the_new_one_starts(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    for made in (one, two):
        bed.push(made)
    talk.bring(one.id)
    fill(bed)
    with pytest.raises(DsopsError, match="beside what runs") as caught:
        talk("activate", release=two.id, **WHY)
    assert "--alone" in caught.value.mend
    bed.systemd.hung.add("triton@a.service")
    asked = len(bed.systemd.asked)
    talk("activate", release=two.id, alone=True, **WHY)
    did = [line for line in bed.systemd.asked[asked:] if line.split()[0] in ("stop", "kill", "restart")]
    assert did == [
        "stop triton@a.service",
        "kill --signal=KILL triton@a.service",
        "stop triton@b.service",
        "restart triton@b.service",
    ]
    talk("proven", release=two.id, evidence="8 of 8")
    assert bed.serves() == ("b", two.id)
    assert bed.systemd.enabled == {"triton@b.service"} == set(bed.systemd.since)


def test_alone_it_is_refused_where_even_all_memory_is_too_little(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    for made in (one, two):
        bed.push(made)
    talk.bring(one.id)
    fill(bed)
    bed.systemd.since.clear()
    asked = len(bed.systemd.asked)
    with pytest.raises(DsopsError, match="even with both slots stopped"):
        talk("activate", release=two.id, alone=True, **WHY)
    assert {line.split()[0] for line in bed.systemd.asked[asked:]} == {"show"}


def test_refuted_alone_the_old_one_comes_back(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    for made in (one, two):
        bed.push(made)
    talk.bring(one.id)
    fill(bed)
    talk("activate", release=two.id, alone=True, **WHY)
    talk("refuted", release=two.id, reason="wrong answers", lasting=True)
    assert set(bed.systemd.since) == {"triton@a.service"}
    says = read_history(journal_path(bed.root))[-2].says
    assert says == f"{two.id} was refuted: wrong answers; {one.id} starts again in slot a"
    talk("proven", release=one.id, evidence="8 of 8")
    assert bed.serves() == ("a", one.id)
    assert talk("state")["state"]["move"] is None
    assert talk("list")["damage"] == []


def test_an_active_slot_that_cannot_be_stopped_is_asked_to_come_back(
    talk: Talk, bed: Bed, one: Made, two: Made
) -> None:
    for made in (one, two):
        bed.push(made)
    talk.bring(one.id)
    bed.systemd.fails.add("stop")
    with pytest.raises(DsopsError, match="systemd refuses"):
        talk("activate", release=two.id, alone=True, **WHY)
    move = talk("state")["state"]["move"]
    assert (move["kind"], move["release"]) == ("rollback", one.id)
    bed.systemd.fails.clear()
    talk("recover")
    talk("proven", release=one.id, evidence="8 of 8")
    assert (bed.serves(), talk("state")["state"]["move"]) == (("a", one.id), None)


def test_memory_that_does_not_come_free_even_by_a_kill_is_an_error_in_words(bed: Bed) -> None:
    bed.systemd.since["triton@a.service"] = 1.0
    bed.systemd.hung.add("triton@a.service")
    bed.systemd.fails.add("kill")
    with pytest.raises(
        DsopsError, match=r"triton@a.service is still deactivating, so its memory is not free"
    ) as caught:
        bed.desk().hands.do(Stop("a", wait=True))
    assert "dsops node logs triton@a.service" in caught.value.mend


# --- the end of all trying -----------------------------------------------------------------------------------------


def test_a_rollback_that_fails_again_and_again_ends_halted(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    for made in (one, two):
        bed.push(made)
        talk.bring(made.id)
        bed.at += bed.config.bake_seconds
        talk("age")
    bed.systemd.fails.add("restart")
    with pytest.raises(DsopsError, match="systemd refuses"):
        talk("rollback", **WHY)
    tries = 0
    while not talk("state")["state"]["halted"]:
        tries += 1
        with suppress(DsopsError):
            talk("recover")
    assert tries == TURNS + 1
    state = talk("state")["state"]
    assert state["halted"] == f"rollback of {one.id} was given up after 32 transitions, the last state: start"
    assert (state["move"], bed.serves()) == (None, ("b", two.id))
    seq = talk("state")["seq"]
    talk("recover")
    assert talk("state")["seq"] == seq, "nothing is tried any more"
    halt = [record for record in read_history(journal_path(bed.root)) if record.event == "halt"]
    assert halt[0].says.startswith("halted: rollback of")
    bed.systemd.fails.clear()
    talk("clear", **WHY)
    talk("rollback", **WHY)
    talk("proven", release=one.id, evidence="8 of 8")
    assert bed.serves() == ("a", one.id)


def test_a_try_is_counted_before_it_is_made_and_made_where_it_cannot_be_counted(
    canary: Talk, bed: Bed, one: Made, two: Made
) -> None:
    canary("widen", release=two.id, share=100, **WHY)
    bed.at += bed.config.bake_seconds
    canary("age")
    bed.systemd.fails.add("restart")
    with pytest.raises(DsopsError, match="systemd refuses"):
        canary("rollback", **WHY)
    with pytest.raises(DsopsError, match="systemd refuses"):
        canary("recover")
    last = read_history(journal_path(bed.root))[-1]
    assert (last.event, last.says) == ("resume", f"rollback of {one.id} goes on at step start (transition 1)")
    bed.systemd.fails.clear()
    bed.disk = FailingDisk(1, stays=True, only=("fdatasync",))
    with pytest.raises(DsopsError, match="no fdatasync"):
        bed.desk().moves.recover()
    assert "triton@a.service" in bed.systemd.since, "it starts; only that it did cannot be written"


def test_the_lanes_of_each_share_are_the_first_so_many(canary: Talk, bed: Bed, two: Made) -> None:
    for share in (25, 50):
        canary("widen", release=two.id, share=share, **WHY)
        led = {lane for lane, slot in read_lanes(bed).items() if slot == "b"}
        assert led == set(find_lanes(share))
