"""The bench's own parts: what counts as lost, what a trace says, and the table."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.bench.swaps.clients import Clients, Service, Window
from tests.bench.swaps.nodes import Counts
from tests.bench.swaps.renames import find_turns, tracing
from tests.bench.swaps.table import CALM, FLIPS, RELOADS, find_faults, render

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
Writer = asyncio.StreamWriter
Serve = Callable[[asyncio.StreamReader, Writer], Awaitable[None]]


def good(request: bytes) -> bytes:
    return STREAM + DONE if b'"stream": true' in request else WHOLE


def answering(answer: Callable[[int, bytes], bytes]) -> Serve:
    """A server that answers the n-th request of a connection so; nothing closes it."""

    async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
        number = 0
        while head := await read_head(reader):
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            said = answer(number, await reader.readexactly(length))
            writer.write(said)
            number += 1
            if not said:
                break
        writer.close()

    return serve


async def read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def load(serve: Serve, *, enough: Callable[[Clients], bool], rate: float = 400) -> Window:
    """What two clients saw, one of them with streams, until it is enough."""

    async def run() -> Window:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        clients = Clients(Service("127.0.0.1", port, "key"), count=2, rate=rate)
        window = clients.begin("test")
        task = asyncio.create_task(clients.run())
        while not enough(clients) and not task.done():
            await asyncio.sleep(0.01)
        clients.stop()
        await task
        server.close()
        return window

    return asyncio.run(run())


def has_lost(clients: Clients) -> bool:
    return bool(clients.windows[1].lost)


def test_good_answers_over_a_kept_connection_are_counted_and_nothing_is_lost() -> None:
    window = load(answering(lambda _, body: good(body)), enough=lambda clients: len(clients.windows[1].latencies) >= 20)
    assert len(window.latencies) >= 20
    assert window.lost == []


def test_a_connection_that_dies_between_two_answers_loses_the_second_request() -> None:
    window = load(answering(lambda number, body: good(body) if number == 0 else b""), enough=has_lost)
    assert "IncompleteReadError" in window.lost[0]
    assert window.latencies


def test_a_stream_without_its_end_is_lost() -> None:
    def cut(_: int, body: bytes) -> bytes:
        return good(body).replace(b"[DONE]", b"[CUT!]")

    window = load(answering(cut), enough=has_lost)
    assert window.lost[0].startswith("stream: ValueError the stream ended early")


def test_any_status_but_200_is_lost() -> None:
    window = load(answering(lambda _, body: good(body).replace(b"200 OK", b"503 No")), enough=has_lost)
    assert "503" in window.lost[0]


def test_a_refused_connection_is_lost() -> None:
    async def run() -> list[str]:
        clients = Clients(Service("127.0.0.1", 1, "key"), count=1, rate=50)
        task = asyncio.create_task(clients.run())
        while not clients.windows[0].lost:
            await asyncio.sleep(0.01)
        clients.stop()
        await task
        return clients.windows[0].lost

    assert asyncio.run(run())[0].startswith("connect: ")


def test_a_stall_counts_for_all_that_were_due_meanwhile() -> None:
    async def stall_once(reader: asyncio.StreamReader, writer: Writer) -> None:
        await asyncio.sleep(0.5)
        await answering(lambda _, body: good(body))(reader, writer)

    window = load(stall_once, enough=lambda clients: len(clients.windows[1].latencies) >= 80, rate=200)
    late = [one for one in window.latencies if one > 0.1]
    assert len(late) > 20  # two requests only would be, were each counted from when it was sent


def test_a_rename_is_of_a_link_when_its_thread_made_one_before() -> None:
    trace = """
# tracer: nop
          python-71      [001] .....   10.000000: sys_rename(oldname: 7f, newname: 7f)
          python-71      [001] .....   10.900000: sys_rename -> 0x0
          python-72      [000] .....   11.000000: sys_symlink(oldname: 7f, newname: 7f)
          python-72      [000] .....   11.000100: sys_symlink -> 0x0
          python-72      [000] .....   11.000200: sys_rename(oldname: 7f, newname: 7f)
          python-71      [001] .....   11.000300: sys_rename(oldname: 7f, newname: 7f)
          python-72      [001] .....   11.000450: sys_rename -> 0x0
          python-71      [001] .....   11.000900: sys_rename -> 0x0
            <...>-73     [000] .....   12.000000: sys_symlinkat(oldname: 7f, newdfd: 3, newname: 7f)
            <...>-73     [000] .....   12.000100: sys_symlinkat -> 0x0
            <...>-73     [000] .....   12.000200: sys_renameat2(olddfd: 3, oldname: 7f, newdfd: 3)
            <...>-73     [000] .....   12.000300: sys_renameat2 -> 0xffffffffffffffe4
"""
    assert [round(one, 6) for one in find_turns(trace.splitlines())] == [0.00025]


def test_the_kernel_shows_a_link_that_is_turned(tmp_path: Path) -> None:
    with tracing() as trace:
        if trace is None:
            pytest.skip("no tracefs here, or not root")
        before = len(trace.read())
        (tmp_path / "new").symlink_to("there")
        (tmp_path / "new").rename(tmp_path / "link")
        turns = trace.read()
    assert len(turns) > before
    assert all(0 <= one < 60 for one in turns)


def make_windows() -> list[Window]:
    seen = ((CALM, 0.010), (FLIPS, 0.012), (CALM, 0.010), (RELOADS, 0.030))
    windows = [Window(name, seconds=10, latencies=[latency] * 100) for name, latency in seen]
    windows[-1].lost.append("answer: cut")
    return windows


def test_the_table_says_what_was_added_to_the_window_before() -> None:
    said = render(make_windows(), Counts(starts=20, warm=180, switches=[0.02], reloads=[1.5]), [0.0002, 0.0004])
    assert "P99 of flips, more than just before: +2.0 ms" in said
    assert "P99 of reloads, more than just before: +20.0 ms" in said
    assert "the longest 0.400 ms" in said
    assert "lost in reloads: answer: cut" in said


def test_a_rename_that_nobody_saw_is_not_told_as_a_quick_one() -> None:
    assert "not known" in render([], Counts(), None)
    assert "not known" in render([], Counts(), [])


def test_what_reloads_lose_is_no_fault_of_ours_and_everything_else_is() -> None:
    windows = make_windows()
    assert find_faults(windows, Counts()) == []
    windows[0].lost.append("stream: cut")
    assert find_faults(windows, Counts(trouble=["gpu1: refused"])) == ["no swaps: stream: cut", "gpu1: refused"]


def test_what_runs_on_a_node_needs_nothing_of_the_tests() -> None:
    assert "from tests" not in (Path(__file__).parent / "on_node.py").read_text()
