"""`dsops node audit`: verified and shown on the server itself, and the receipt that the control host keeps."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dsops.core.audit import Act, Head, Kind, find_receipt, parse_line, render_entry, render_line
from dsops.core.errors import DsopsError
from dsops.core.state import Epoch
from dsops.node.cli import Door, node
from dsops.node.cli.receipt import find_end, receipt
from dsops.node.store.audit import audit_folder, find_files, read_head
from dsops.node.store.disk import Disk
from dsops.node.store.ledger import Ledger

from tests.node.helper.conftest import serving
from tests.node.store.bed import NAMESPACE, Bed, Made, Signer, make_release, make_root, make_signer

AT = 1_700_000_000.0


class Bench:
    """A store with a chain, and the door to it."""

    def __init__(self, folder: Path) -> None:
        self.root = make_root(folder / "store")
        (folder / "store.toml").write_text(f'namespace = "{NAMESPACE}"\nstate = "{self.root}"\n')
        self.naps: list[float] = []
        self.door = Door(folder / "no", "127.0.0.1:1", store=folder / "store.toml", sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        if len(self.naps) > 2:
            raise KeyboardInterrupt
        self.add(Act(AT, Kind.DONE, "restart", "kim", f"nap {len(self.naps)}", "gpu1"))

    def add(self, *acts: Act) -> Head:
        ledger = Ledger(self.root, Disk(), node="gpu1", now=lambda: AT)
        for act in acts:
            ledger.add(act)
        assert ledger.close()
        return read_head(self.root)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(node, ["audit", *words], obj=self.door)


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("signer"))


@pytest.fixture
def bed(tmp_path: Path, signer: Signer) -> Bed:
    return Bed(make_root(tmp_path / "store"), signer)


@pytest.fixture
def one(signer: Signer) -> Made:
    return signer.sign(make_release("one"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.add(*(Act(AT + n, Kind.DONE, "remove", "kim", f"why {n}", "gpu1", to=f"r{n:012}") for n in range(5)))
    return bench


def test_a_whole_chain_is_said_to_be_whole(bench: Bench) -> None:
    done = bench.run("verify")
    assert done.exit_code == 0
    assert done.output.startswith("whole: 6 entries, since 2023-11-1")
    data = json.loads(bench.run("verify", "--json").output)
    assert (data["ok"], data["entries"], data["flaws"], data["lag"]) == (True, 6, [], "")
    assert data["head"] == json.loads(bench.run("head", "--json").output)


def test_a_harmed_chain_ends_with_1_and_says_where(bench: Bench) -> None:
    (file,) = find_files(audit_folder(bench.root))
    file.write_bytes(file.read_bytes().replace(b"why 2", b"why 7"))
    done = bench.run("verify")
    assert done.exit_code == 1
    assert "NOT WHOLE: 6 entries" in done.output
    assert "  000000000001.jsonl:4: entry 4 was altered after it was written\n" in done.output


def test_a_cut_end_is_found_against_a_head_that_was_kept(bench: Bench) -> None:
    kept = bench.run("head").output.strip()
    (file,) = find_files(audit_folder(bench.root))
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-2]))
    assert bench.run("verify").exit_code == 0, "by itself nobody can know"
    done = bench.run("verify", "--head", kept)
    assert done.exit_code == 1
    assert "the end was cut off: the chain ends at entry 4, and the control host saw entry 6" in done.output


def test_what_cannot_be_read_ends_with_2(bench: Bench) -> None:
    (audit_folder(bench.root) / "000000000000.jsonl").mkdir()
    done = bench.run("verify")
    assert done.exit_code == 2
    assert "the disk refuses" in done.stderr
    assert bench.run("verify", "--head", "nonsense").exit_code == 2


def test_the_tail_is_for_people_and_for_machines(bench: Bench) -> None:
    shown = bench.run("tail", "-n", "2").output.splitlines()
    assert len(shown) == 2
    assert shown[-1].endswith("gpu1 6  done remove r000000000004 by kim: why 4")
    lines = [json.loads(line) for line in bench.run("tail", "-n", "3", "--json").output.splitlines()]
    assert [line["number"] for line in lines] == [4, 5, 6]
    assert bench.run("tail", "--after", "6").output == ""


def test_following_goes_on_with_what_comes(bench: Bench) -> None:
    lines = bench.run("tail", "-n", "1", "--follow", "--json").output.splitlines()
    assert [json.loads(line)["why"] for line in lines] == ["why 4", "nap 1", "nap 2"]


def test_the_export_is_what_lies_there_and_may_begin_after_a_number(bench: Bench) -> None:
    (file,) = find_files(audit_folder(bench.root))
    assert bench.run("export").output.encode() == file.read_bytes()
    assert len(bench.run("export", "--after", "4").output.splitlines()) == 2
    with file.open("ab") as stream:
        stream.write(b"torn")
    assert bench.run("export").output.encode() == file.read_bytes()


def test_a_server_without_a_store_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(node, ["audit", "tail"], obj=Door(tmp_path, "x", store=tmp_path / "none.toml"))
    assert isinstance(done.exception, DsopsError)


def test_a_changing_verb_over_ssh_says_last_where_the_chain_ends(
    bed: Bed, one: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    bed.ledger = Ledger(bed.root, Disk(), now=lambda: bed.at)
    desk = bed.desk()
    desk.moves.begin()
    with serving(desk, bed.root / "sock") as talk:
        talk.push(one)
        with pytest.raises(SystemExit), receipt(["rollback"], helper=talk.path):
            raise SystemExit(1)
        said = capsys.readouterr().err
        end = read_head(bed.root)
        assert end.number > 2
        assert find_receipt(f"error: x\n{said}") == (end, "error: x\n")
        for words in (["status"], ["release", "list"], ["audit", "tail"], ["release", "receive", "x"]):
            with receipt(words, helper=talk.path):
                pass
    with receipt(["drain"], helper=bed.root / "nobody"):
        pass
    assert capsys.readouterr().err == ""


def test_the_receipt_is_of_what_lasts_and_a_disk_that_hangs_is_not_waited_for(bed: Bed) -> None:
    class Hung(Disk):
        hangs = 0.0

        def fdatasync(self, fd: int) -> None:
            time.sleep(self.hangs)
            super().fdatasync(fd)

    disk = Hung()
    bed.ledger = Ledger(bed.root, disk, now=lambda: bed.at)
    desk = bed.desk()
    desk.moves.begin()
    bed.ledger.flush()
    with serving(desk, bed.root / "sock") as talk:
        end = find_end(talk.path)
        disk.hangs = 30.0
        talk("clear", who="kim", reason="x")
        began = time.perf_counter()
        assert find_end(talk.path) == end, "what was only written is not told: a cut of power takes it back"
        assert time.perf_counter() - began < 15


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({}, "T  gpu1 3  step x by nobody"),
        ({"leaves": "r1", "to": "r2", "who": "kim"}, "T  gpu1 3  step x r1 -> r2 by kim"),
        ({"leaves": "r1", "to": "r1", "who": "kim"}, "T  gpu1 3  step x r1 by kim"),
        ({"to": "r2", "why": "new", "evidence": "8 of 8"}, "T  gpu1 3  step x r2 by nobody: new (8 of 8)"),
        ({"epoch": Epoch(4, "c")}, "T  gpu1 3  step x by nobody [epoch 4 of c]"),
    ],
)
def test_an_entry_is_one_line(words: dict[str, Any], says: str) -> None:
    line, _ = render_line(Act(AT, Kind.STEP, "x", node="gpu1", **words), after=Head(2, "a" * 64))
    assert render_entry(parse_line(line[:-1]), local=lambda _: "T") == says
