"""The bench's own parts: what it reads from the tools, what it prints, and the long line."""

import asyncio
import re
import time
from pathlib import Path

from tests.bench.converge.__main__ import Costs, Ends, Said, render, spread
from tests.bench.converge.delay import make_handler
from tests.bench.converge.ends import find_differences, hash_end
from tests.bench.converge.measure import Cost, count_changes

HERE = Path(__file__).parent


def test_the_changes_are_read_from_what_each_tool_says() -> None:
    assert count_changes("    Grand total       37      -         -       37         \n") == 0
    assert count_changes("    Grand total       37      10        -       27         \n") == 10
    assert count_changes("n1 : ok=16   changed=11   unreachable=0\nn2 : ok=16   changed=1   unreachable=0\n") == 12


def test_two_states_differ_by_their_lines() -> None:
    assert hash_end("a\nb\n") != hash_end("a\nc\n")
    assert find_differences("a\nb\n", "a\nc\n") == ["- b", "+ c"]


def test_a_spread_is_median_least_and_most() -> None:
    assert spread([3, 1, 2], 1) == "2.0 (1.0..3.0)"


def test_ratios_are_of_the_same_round() -> None:
    costs: Costs = {
        (1, "dsops", "no change"): [Cost(1, 1, 0, 1, 0), Cost(2, 1, 0, 1, 0)],
        (1, "ansible", "no change"): [Cost(20, 10, 10, 1, 0), Cost(20, 10, 10, 1, 0)],
        (3, "dsops", "no change"): [Cost(2.5, 1, 0, 3, 0), Cost(4, 1, 0, 3, 0)],
    }
    said = render(Said((1,), 3, 2, 0, ("dsops", "ansible")), costs, Ends())
    assert re.search(
        r"1 ansible  no change +15\.0 \(10\.0\.\.20\.0\)x, CPU of both ends 20\.0 \(20\.0\.\.20\.0\)x", said
    )
    assert "no change, 3 servers / 1 servers: 2.25 (2.00..2.50)" in said


def test_a_byte_arrives_half_a_round_trip_later_and_many_do_not_wait_for_each_other() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def measure() -> tuple[float, float, bytes]:
        far = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = far.sockets[0].getsockname()[1]
        near = await asyncio.start_server(make_handler("127.0.0.1", port, 0.05), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", near.sockets[0].getsockname()[1])
        times = []
        for size in (1, 1 << 20):
            start = time.monotonic()
            writer.write(b"x" * size)
            said = await reader.readexactly(size)
            times.append(time.monotonic() - start)
        writer.write_eof()
        end = await reader.read()
        writer.close()
        near.close()
        far.close()
        return times[0], times[1], said[:1] + end

    one, many, said = asyncio.run(measure())
    assert said == b"x"
    assert 0.1 <= one < 1
    assert 0.1 <= many < 1.5


def test_what_both_sides_write_is_the_same_files() -> None:
    """A file of the state that one of them does not use would not be compared."""
    ours, theirs = (HERE / name for name in ("ours/deploy.py", "theirs/playbook.yml"))
    for file in (HERE / "state").iterdir():
        assert f'"{file.name}"' in ours.read_text(), file
        assert re.search(rf"\b{re.escape(file.name)}\b", theirs.read_text()), file


def test_the_other_tools_are_pinned_and_name_no_address() -> None:
    text = (HERE / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z-]+==[\d.]+", line) for line in lines)
    assert "://" not in text
