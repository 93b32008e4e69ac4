"""This control host's chain: every command to a node is in it, and nothing that is wrong with it stops a command."""

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from dsops.control import audit
from dsops.control.audit import Chain, Heard, Teller, find_anchors, find_chain, keeping, tell, tell_deploy, telling
from dsops.core.audit import ACCEPT, Act, Entry, Head, Kind, verify
from dsops.core.errors import DsopsError
from dsops.core.state import Epoch

SITE = Path("/site/inventory/site.py")
ACTIVATE = ["dsops", "node", "release", "activate", "r" + "1" * 12, "--who", "kim@c1", "--reason", "new one"]
FENCED = [*ACTIVATE, "--epoch", "7", "--holder", "c1-ab12", "--wait", "900", "--json"]
H1, H2 = "a" * 64, "b" * 64


def run(argv: Sequence[str], code: int = 0, stderr: str = "") -> str:
    with telling(SITE, "gpu1", argv) as heard:
        return heard.hear(code, stderr)


def acts(folder: Path) -> list[Act]:
    lines = Chain(folder).read()
    assert verify(lines).is_whole
    return [entry.act for entry in Chain(folder).read_entries()][1:]


def test_a_command_is_told_with_who_what_why_and_where_the_nodes_chain_ends(state_folder: Path) -> None:
    assert run(FENCED, 0, f"copied\naudit: 42:{H1}\n") == "copied\n"
    (act,) = acts(state_folder)
    assert (act.kind, act.verb, act.to, act.node) == (Kind.DONE, "release activate", "r" + "1" * 12, "gpu1")
    assert (act.who, act.why, act.epoch) == ("kim@c1", "new one", Epoch(7, "c1-ab12"))
    assert (act.head, act.fleet, act.evidence) == (Head(42, H1), str(SITE), "")
    run([*FENCED, "--share", "7", "--alone"])
    assert acts(state_folder)[-1].evidence == "--share 7 --alone"


@pytest.mark.parametrize(
    ("argv", "verb", "to", "why"),
    [
        (["rollback", "--who", "kim", "--reason", "bad", "--to", "r1"], "rollback", "r1", "bad"),
        (["drain", "--reason", "a fan", "--who", "kim", "--wait", "0"], "drain", "", "a fan"),
        (["undrain", "--who", "kim"], "undrain", "", ""),
        (["release", "admit"], "release admit", "", ""),
        (["release", "unmark-bad", "r1", "--who", "kim", "--reason", "x"], "release unmark-bad", "r1", "x"),
        (["adopt", "--epoch", "3", "--holder", "c", "--who", "kim", "--reason", "x"], "adopt", "", "x"),
        (["something-new", "--who", "kim"], "something-new", "", ""),
    ],
)
def test_every_verb_that_changes_a_node_is_told(
    state_folder: Path, argv: list[str], verb: str, to: str, why: str
) -> None:
    run(["dsops", "node", *argv])
    (act,) = acts(state_folder)
    assert (act.verb, act.to, act.why) == (verb, to, why)
    assert act.who == ("kim" if "kim" in argv else audit.who())


@pytest.mark.parametrize(
    "argv",
    [
        ["dsops", "node", "release", "list", "--json"],
        ["dsops", "node", "release", "receive", "x"],
        ["dsops", "node", "history", "--json"],
        ["dsops", "node", "audit", "tail"],
        ["dsops", "node", "status"],
        ["systemctl", "status"],
    ],
)
def test_what_only_reads_is_not_told(state_folder: Path, argv: list[str]) -> None:
    run(argv)
    assert not Chain(state_folder).folder.exists()


def test_how_it_ended_is_told(state_folder: Path) -> None:
    run(FENCED, 1, f"error: epoch 7 is older than 9\n  mend: x\naudit: 43:{H1}\n")
    run(FENCED, 3, "drained, 2 in flight\n")
    run(FENCED, 1, "Traceback ...\nRuntimeError: x\n")
    with pytest.raises(DsopsError), telling(SITE, "gpu1", FENCED):
        raise DsopsError("the connection broke (EOF)", where="gpu1")
    with pytest.raises(KeyboardInterrupt), telling(SITE, "gpu1", FENCED):
        raise KeyboardInterrupt
    told = [(act.kind, act.evidence, act.head) for act in acts(state_folder)]
    assert told == [
        (Kind.REFUSED, "epoch 7 is older than 9", Head(43, H1)),
        (Kind.DONE, "exit 3", None),
        (Kind.UNKNOWN, "exit 1: Traceback ... RuntimeError: x", None),
        (Kind.UNKNOWN, "gpu1: the connection broke (EOF)", None),
        (Kind.UNKNOWN, "stopped here (KeyboardInterrupt) before the node answered", None),
    ]


def test_only_a_whole_receipt_is_taken_for_one() -> None:
    for said in ("audit: 1\n", "audit: x:y\n", f"the audit: 1:{H1}\n", "audit:\n"):
        heard = Heard()
        assert heard.hear(0, said) == said
        assert heard.head is None


def test_a_hundred_nodes_at_once_make_one_chain(state_folder: Path) -> None:
    threads = [threading.Thread(target=run, args=(FENCED,)) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(acts(state_folder)) == 100


def test_the_commands_own_state_folder_counts_from_any_thread(tmp_path: Path, state_folder: Path) -> None:
    assert find_chain().folder == state_folder / "audit"
    with keeping(tmp_path / "other"):
        thread = threading.Thread(target=run, args=(FENCED,))
        thread.start()
        thread.join()
    run(FENCED)
    assert (len(acts(tmp_path / "other")), len(acts(state_folder))) == (1, 1)


def test_a_command_that_ends_after_its_giver_left_is_told_where_it_began(tmp_path: Path, state_folder: Path) -> None:
    began, ends = threading.Event(), threading.Event()

    def order() -> None:
        with telling(SITE, "gpu1", FENCED) as heard:
            began.set()
            ends.wait(5)
            heard.hear(0, "")

    thread = threading.Thread(target=order)
    with keeping(tmp_path / "other"):
        thread.start()
        began.wait(5)
    ends.set()
    thread.join()
    assert len(acts(tmp_path / "other")) == 1
    assert not Chain(state_folder).folder.exists()


def test_the_folder_is_for_its_owner_alone(state_folder: Path) -> None:
    run(FENCED)
    (file,) = (state_folder / "audit").glob("*.jsonl")
    assert ((state_folder / "audit").stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_torn_last_line_is_repaired_and_told(state_folder: Path) -> None:
    run(FENCED)
    (file,) = (state_folder / "audit").glob("*.jsonl")
    whole = file.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 100):
        file.write_bytes(whole[:cut])
        run(FENCED)
        assert [act.verb for act in acts(state_folder)] == ["repair", "release activate"]


def test_a_chain_that_is_rubbish_is_kept_aside_and_begins_anew(state_folder: Path) -> None:
    (state_folder / "audit").mkdir()
    (state_folder / "audit/000000000001.jsonl").write_text("rubbish\n")
    run(FENCED)
    assert len(acts(state_folder)) == 1
    assert len(list((state_folder / "audit").glob("*.spoiled-*"))) == 1


def test_files_turn_and_the_chain_goes_on(state_folder: Path) -> None:
    for _ in range(12):
        Chain(state_folder, size=2000).add(Act(1.0, Kind.DONE, "rollback", "kim", "x" * 200))
    assert len(list((state_folder / "audit").glob("*.jsonl"))) > 2
    assert len(acts(state_folder)) == 12


# --- losing it stops nobody --------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_a_warning_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with keeping(tmp_path / "file"):
        for _ in range(3):
            assert run(FENCED, 0, "fine\n") == "fine\n"
    assert capsys.readouterr().err == (
        "warning: the audit of this control host cannot be written: "
        f"[Errno 20] Not a directory: '{tmp_path}/file/audit'\n"
    )


def test_a_disk_that_hangs_is_waited_for_once(tmp_path: Path) -> None:
    goes_on = threading.Event()

    class Hung(Chain):
        def add(self, *acts: Act) -> None:
            goes_on.wait(10)
            super().add(*acts)

    teller, chain = Teller(), Hung(tmp_path)
    began = time.perf_counter()
    for _ in range(50):
        assert teller.tell(Act(1.0, Kind.DONE, "x"), chain, seconds=0.05) == "the disk hangs"
    assert time.perf_counter() - began < 0.5
    goes_on.set()
    assert teller.tell(Act(1.0, Kind.DONE, "last"), chain, seconds=2) in ("", "the disk hangs")
    for _ in range(100):
        if len(Chain(tmp_path).read()) == 52:
            break
        time.sleep(0.01)
    assert len(acts(tmp_path)) == 51, "what waited is written when it goes on"


def test_what_cannot_be_read_says_whose_it_is(tmp_path: Path) -> None:
    (tmp_path / "audit/000000000001.jsonl").mkdir(parents=True)
    with pytest.raises(DsopsError, match="cannot be read") as caught:
        Chain(tmp_path).read()
    assert "DSOPS_STATE" in caught.value.mend


# --- what was seen of the nodes ----------------------------------------------------------------------------------


def entry(number: int, node: str = "gpu1", fleet: Path = SITE, **words: object) -> Entry:
    act = Act(1.0, Kind.DONE, "rollback", node=node, fleet=str(fleet))
    return Entry(number, H1, H2, Act(**{**vars(act), **words}))  # type: ignore[arg-type]


def test_the_ends_of_a_node_are_those_of_its_inventory_since_it_was_accepted() -> None:
    entries = [
        entry(1, head=Head(5, H1)),
        entry(2, node="gpu2", head=Head(6, H1)),
        entry(3, fleet=Path("/lab/inventory/lab.py"), head=Head(7, H1)),
        entry(4),
        entry(5, head=Head(9, H2)),
    ]
    assert find_anchors(entries, fleet=str(SITE), node="gpu1") == (Head(5, H1), Head(9, H2))
    anew = entry(6, kind=Kind.HEAD, verb=ACCEPT, head=Head(2, H2))
    assert find_anchors([*entries, anew], fleet=str(SITE), node="gpu1") == (Head(2, H2),)
    empty = entry(6, kind=Kind.HEAD, verb=ACCEPT, head=Head())
    assert find_anchors([*entries, empty], fleet=str(SITE), node="gpu1") == ()


def test_a_deploy_is_told(state_folder: Path) -> None:
    tell_deploy(SITE, (), code=0)
    tell_deploy(SITE, ("gpu1", "lb"), code=1)
    told = [(act.kind, act.node, act.evidence) for act in acts(state_folder)]
    assert told == [(Kind.DONE, "all servers", "exit 0"), (Kind.UNKNOWN, "gpu1, lb", "exit 1")]


def test_a_line_is_json_for_other_tools(state_folder: Path) -> None:
    tell(Act(1.0, Kind.DONE, "x", "kim"))
    (file,) = (state_folder / "audit").glob("*.jsonl")
    assert json.loads(file.read_text().splitlines()[-1])["who"] == "kim"
