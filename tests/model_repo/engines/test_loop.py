"""The loop keeps requests apart, paces messages, and never leaves anyone waiting."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from openvino_engine.counters import PrefillMeter
from openvino_engine.errors import RequestError, Stopping
from openvino_engine.loop import Loop
from openvino_engine.pacing import Pacing
from openvino_engine.ports import Handle, Message
from openvino_engine.request import Ask
from openvino_engine.sampling import Sampling
from openvino_engine.settings import Settings

SETTINGS = Settings(context=100, max_tokens=50, queue=2, sequences=2)


@dataclass
class FakeHandle:
    answer: list[int]
    stopped: bool = False
    at: int = 0

    def read(self) -> tuple[list[int], str | None]:
        tokens = self.answer[self.at : self.at + 1]
        self.at += 1
        if tokens == [0]:
            raise ZeroDivisionError("this one is broken")
        return tokens, "length" if self.at >= len(self.answer) else None

    def stop(self) -> None:
        self.stopped = True


@dataclass
class FakePipeline:
    """Answers with the prompt itself, one character a step. `before_step` may raise, or change the world."""

    before_step: Callable[[int], None] = lambda step: None
    steps: int = 0
    handles: list[FakeHandle] = field(default_factory=list)

    def encode(self, prompt: str) -> list[int]:
        return list(prompt.encode())

    def decode(self, windows: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        if any(1 in window for window in windows):
            raise UnicodeError("token 1 cannot be decoded")
        return [bytes(window).decode(errors="replace") for window in windows]

    def add(self, number: int, ids: list[int], *, sampling: Sampling, most_new: int) -> Handle:
        self.handles.append(FakeHandle(ids[:most_new]))
        return self.handles[-1]

    def step(self) -> None:
        self.steps += 1
        self.before_step(self.steps)


@dataclass
class FakeReply:
    done: threading.Event
    messages: list[Message] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    cancelled: bool = False
    broken: bool = False

    def send(self, message: Message, *, input_tokens: int) -> None:
        if self.broken:
            raise OSError("nobody there")
        self.messages.append(message)
        if message.finish:
            self.done.set()

    def fail(self, error: RequestError) -> None:
        self.errors.append(str(error))
        self.done.set()

    def is_cancelled(self) -> bool:
        return self.cancelled

    @property
    def text(self) -> str:
        return "".join(message.text for message in self.messages)


class Bed:
    """A loop with a fake pipeline and a clock that stands still unless a test moves it."""

    def __init__(self, pipeline: FakePipeline | None = None, settings: Settings = SETTINGS) -> None:
        self.pipeline = pipeline or FakePipeline()
        self.now = 0.0
        self.logged: list[str] = []
        self.loop = Loop(self.pipeline, settings, log=self.logged.append, clock=lambda: self.now)
        self.raised: list[BaseException] = []

    def ask(self, prompt: str, *, stream: bool = True, **sampling: Any) -> FakeReply:
        reply = FakeReply(threading.Event())
        wanted = Sampling(**{"max_tokens": None, **sampling})
        self.loop.submit(Ask(prompt, stream, False, wanted, True, True, True), reply)
        return reply

    def serve(self, *replies: FakeReply) -> None:
        """Runs the loop until all have their end."""

        def run() -> None:
            try:
                self.loop.run()
            except Exception as error:
                self.raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        for reply in replies:
            assert reply.done.wait(5), "someone was left waiting"
        self.loop.stop(Stopping("the server is going down"))
        thread.join(5)
        assert not thread.is_alive()


def test_a_stream_gets_the_whole_answer_and_a_finish_once() -> None:
    bed = Bed()
    one, two = bed.ask("hello"), bed.ask("wörld", stream=False)
    bed.serve(one, two)
    assert (one.text, two.text) == ("hello", "wörld")
    assert [m.finish for m in one.messages if m.finish] == ["length"]
    assert len(two.messages) == 1
    assert sum(m.tokens for m in one.messages) == 5


def test_the_first_token_goes_at_once_and_the_next_ones_together() -> None:
    bed = Bed()
    reply = bed.ask("abcdefgh")
    bed.serve(reply)
    assert [m.text for m in reply.messages] == ["a", "bcdefgh"]


def test_tokens_go_out_when_their_gap_is_over() -> None:
    bed = Bed()
    bed.pipeline.before_step = lambda step: setattr(bed, "now", step * 1.0)
    reply = bed.ask("abc")
    bed.serve(reply)
    assert [m.text for m in reply.messages] == ["a", "b", "c"]


def test_half_a_character_is_never_sent_nor_its_tokens_lost() -> None:
    bed = Bed()
    bed.pipeline.before_step = lambda step: setattr(bed, "now", step * 1.0)
    reply = bed.ask("世界")
    bed.serve(reply)
    assert [m.text for m in reply.messages] == ["世", "界"]
    assert [m.tokens for m in reply.messages] == [3, 3]


@pytest.mark.parametrize("stream", [True, False])
def test_a_stop_string_ends_the_answer_at_once(stream: bool) -> None:
    bed = Bed()
    reply = bed.ask("one STOP two", stream=stream, stop=("STOP",))
    bed.serve(reply)
    assert (reply.text, reply.messages[-1].finish) == ("one ", "stop")
    assert bed.pipeline.handles[0].stopped
    assert bed.pipeline.handles[0].at == 8


def test_a_request_that_fails_does_not_touch_the_others() -> None:
    bed = Bed()
    broken, well = bed.ask("ab\0cd"), bed.ask("hello")
    bed.serve(broken, well)
    assert broken.errors == ["engine_error: ZeroDivisionError: this one is broken"]
    assert (well.text, well.errors) == ("hello", [])


def test_an_answer_that_cannot_be_decoded_does_not_touch_the_others() -> None:
    bed = Bed()
    broken, well = bed.ask("\1\1"), bed.ask("hello")
    bed.serve(broken, well)
    assert broken.errors == ["engine_error: UnicodeError: token 1 cannot be decoded"]
    assert well.text == "hello"


def test_a_client_that_cannot_be_reached_does_not_touch_the_others() -> None:
    bed = Bed()
    gone, well = bed.ask("hello"), bed.ask("hello")
    gone.broken = True
    bed.serve(gone, well)
    assert well.text == "hello"


def test_a_pipeline_that_fails_fails_everyone_with_the_reason_and_ends_the_loop() -> None:
    def explode(step: int) -> None:
        if step == 2:
            raise RuntimeError("out of memory")

    bed = Bed(FakePipeline(before_step=explode))
    replies = [bed.ask("hello"), bed.ask("hello"), bed.ask("waits")]
    bed.serve(*replies)
    assert [r.errors for r in replies] == [["engine_error: the engine failed: out of memory"]] * 3
    assert isinstance(bed.raised[0], RuntimeError)
    with pytest.raises(RequestError, match="out of memory"):
        bed.ask("too late")


def test_stopping_fails_what_is_under_way() -> None:
    bed = Bed()
    bed.pipeline.before_step = lambda step: bed.loop.stop(Stopping("the server is going down"))
    replies = [bed.ask("hello"), bed.ask("hello"), bed.ask("waits")]
    bed.serve(*replies)
    assert [r.errors for r in replies] == [["stopping: the server is going down"]] * 3


def test_a_cancelled_request_gives_its_place_to_the_next() -> None:
    bed = Bed(settings=Settings(context=100, max_tokens=50, queue=2, sequences=1))
    gone, waits = bed.ask("x" * 40), bed.ask("hello")

    def leave(step: int) -> None:
        gone.cancelled = step >= 3
        bed.now = step * 1.0

    bed.pipeline.before_step = leave
    bed.serve(gone, waits)
    assert (gone.messages[-1].finish, gone.errors) == ("cancelled", [])
    assert bed.pipeline.handles[0].stopped
    assert bed.pipeline.handles[0].at <= 4
    assert waits.text == "hello"


def test_a_request_that_is_cancelled_while_it_waits_is_never_started() -> None:
    bed = Bed(settings=Settings(context=100, max_tokens=50, queue=2, sequences=1))
    first, gone = bed.ask("hello"), bed.ask("never")
    gone.cancelled = True
    bed.serve(first, gone)
    assert (first.text, gone.messages) == ("hello", [Message("", 0, "cancelled")])
    assert len(bed.pipeline.handles) == 1


def test_a_full_queue_is_refused() -> None:
    bed = Bed()
    for _ in range(4):
        bed.ask("hello")
    with pytest.raises(RequestError, match=r"^overloaded: 2 requests run and 2 wait"):
        bed.ask("one too many")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "^invalid_request: the prompt is empty"),
        ("x" * 100, "^context_length_exceeded: the prompt has 100 tokens; this release takes at most 99"),
        ("x" * 100_000, "^context_length_exceeded: the prompt has 100000 characters"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(prompt: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Bed().ask(prompt)


def test_an_answer_ends_where_the_context_ends() -> None:
    bed = Bed()
    reply = bed.ask("x" * 90)
    bed.serve(reply)
    assert (len(reply.text), reply.messages[-1].finish) == (10, "length")


def test_counters_tell_what_was_done() -> None:
    bed = Bed()
    bed.serve(bed.ask("hello"), bed.ask("world"), bed.ask("third"))
    counters = bed.loop.counters
    assert (counters.generated_tokens, counters.prefilled_tokens) == (15, 15)
    assert counters.iterations >= 10
    assert (counters.running, counters.waiting) == (0, 0)


def test_a_long_prompt_is_counted_while_it_is_computed() -> None:
    meter = PrefillMeter(batched_tokens=256)
    meter.add(1, 600)
    meter.add(2, 100)
    assert [meter.count_step(answering=6), meter.count_step(answering=6)] == [250, 250]
    assert meter.count_step(answering=6) == 200
    assert meter.close(1, through=True) + meter.close(2, through=True) == 0


def test_what_the_meter_did_not_see_is_counted_when_the_prompt_is_through() -> None:
    meter = PrefillMeter(batched_tokens=256)
    meter.add(1, 600)
    assert meter.count_step(answering=0) + meter.close(1, through=True) == 600
    meter.add(2, 600)
    assert meter.count_step(answering=0) + meter.close(2, through=False) == 256


def test_more_requests_mean_fewer_messages_each() -> None:
    pacing = Pacing(messages_per_second=200)
    assert [pacing.message_gap(n) for n in (1, 16, 64)] == [0.005, 0.08, 0.2]
    assert [pacing.check_gap(n) for n in (1, 200)] == [0.1, 0.4]
