"""The kernel's log from a file of its lines: gaps are counted, a flood loses nothing, and a broken one is said."""

import asyncio
import os
from pathlib import Path

import pytest
from dsops.node.sources.kernel_log import TURN, KernelLog, Record, parse_record


def line(seq: int, text: str = "hello", *, priority: int = 6) -> str:
    return f"{priority},{seq},{seq * 1000},-;{text}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "kmsg"
    file.write_text("")
    return file


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_it_begins_at_the_first_line_of_this_boot_and_goes_on(path: Path) -> None:
    add(path, line(0, "Linux version") + line(1))
    log = KernelLog(path)
    assert [one.text for one in log.read()] == ["Linux version", "hello"]
    assert log.read() == []
    add(path, line(2, "later"))
    assert log.read() == [Record(2, 6, 0.002, "later")]
    assert (log.seen, log.lost, log.reason) == (3, 0, "")


def test_half_a_line_waits_for_its_end(path: Path) -> None:
    log = KernelLog(path)
    whole = line(0, "a long line")
    add(path, whole[:9])
    assert log.read() == []
    add(path, whole[9:])
    assert [one.text for one in log.read()] == ["a long line"]


def test_what_was_overwritten_is_counted(path: Path) -> None:
    add(path, line(5) + line(6) + line(10) + line(11))
    log = KernelLog(path)
    assert len(log.read()) == 4
    assert log.lost == 3


def test_what_nobody_wants_is_counted_and_not_read(path: Path) -> None:
    add(path, "".join(line(n, "noise") for n in range(50)) + line(50, "NVRM: Xid"))
    log = KernelLog(path, wants=lambda data: b"NVRM" in data)
    assert [one.seq for one in log.read()] == [50]
    assert log.seen == 51


def test_a_flood_of_fifty_thousand_lines_loses_none(path: Path) -> None:
    log = KernelLog(path, wants=lambda data: b"Xid" in data)
    log.read()
    add(path, "".join(line(n, "flood " + "x" * 60) for n in range(50_000)) + line(50_000, "NVRM: Xid 79"))
    found: list[Record] = []
    for _ in range(100):
        found += log.read()
    assert [one.seq for one in found] == [50_000]
    assert log.lost == 0


def test_a_file_that_began_anew_is_read_from_its_start(path: Path) -> None:
    add(path, "".join(line(n) for n in range(20)))
    log = KernelLog(path)
    log.read()
    path.write_text(line(0, "another boot"))
    assert [one.text for one in log.read()] == ["another boot"]


def test_one_that_is_not_there_is_said_and_tried_again(tmp_path: Path) -> None:
    log = KernelLog(tmp_path / "kmsg")
    assert log.read() == []
    assert not log.is_open
    assert log.reason == f"{tmp_path / 'kmsg'}: No such file or directory"
    (tmp_path / "kmsg").write_text(line(0))
    assert len(log.read()) == 1
    assert log.reason == ""
    log.close()
    assert not log.is_open


@pytest.mark.parametrize(
    "data", [b"", b" SUBSYSTEM=pci", b"nonsense", b"6,x,1,-;text", b";text", b"\xff\xfe", b"6,1,2;no flags"]
)
def test_what_is_no_record_is_none(data: bytes) -> None:
    assert parse_record(data) is None


def test_a_record_may_carry_more_than_its_line() -> None:
    data = b"30,18,12345678,-,caller=T1;nvme \xe2\x82\xac\xff done\n SUBSYSTEM=pci\n DEVICE=+pci:0000:3b:00.0\n"
    assert parse_record(data) == Record(18, 6, 12.345678, "nvme €� done")


class Pipe:
    """As /dev/kmsg gives it: one record a read, and it can be waited for."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "pipe"
        os.mkfifo(self.path)

    def write(self, text: str) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        os.write(file, text.encode())
        self.file = file


def test_a_device_is_waited_for_and_read_at_once(tmp_path: Path) -> None:
    pipe = Pipe(tmp_path)
    log = KernelLog(pipe.path)

    async def play() -> list[Record]:
        assert log.read() == []
        asyncio.get_running_loop().call_later(0.05, pipe.write, line(3, "now"))
        await asyncio.wait_for(log.wait(30.0), 10.0)
        return log.read()

    assert [one.text for one in asyncio.run(play())] == ["now"]
    os.close(pipe.file)


def test_a_turn_has_an_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = [line(n).encode() for n in range(TURN + 5)]
    log = KernelLog(Path(os.devnull))
    assert log.open()
    monkeypatch.setattr(os, "read", lambda file, size: reads.pop(0) if reads else b"")
    assert len(log.read()) == TURN
    assert len(log.read()) == 5


def test_what_was_lost_at_the_device_is_read_on_from_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """EPIPE: the next read gives the oldest record that is still there."""
    answers: list[bytes | OSError] = [line(1).encode(), BrokenPipeError(32, "overwritten"), line(9).encode()]

    def read(file: int, size: int) -> bytes:
        if not answers:
            raise BlockingIOError
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    log = KernelLog(Path(os.devnull))
    assert log.open()
    monkeypatch.setattr(os, "read", read)
    assert [one.seq for one in log.read()] == [1, 9]
    assert log.lost == 7


def test_a_device_that_breaks_is_closed_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    log = KernelLog(Path(os.devnull))
    assert log.open()

    def read(file: int, size: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", read)
    assert log.read() == []
    assert (log.is_open, log.reason) == (False, "/dev/null: Input/output error")
