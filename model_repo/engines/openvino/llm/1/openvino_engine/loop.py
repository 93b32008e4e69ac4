"""The engine's loop: takes requests in, steps them together, sends their text, drops the abandoned."""

import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Items
from functools import partial

from openvino_engine.counters import Counters, PrefillMeter
from openvino_engine.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    Overloaded,
    RequestError,
    Stopping,
)
from openvino_engine.pacing import Pacing
from openvino_engine.ports import Pipeline, Reply
from openvino_engine.request import Ask
from openvino_engine.sequence import Sequence
from openvino_engine.settings import Settings
from openvino_engine.text import Decode

LONGEST_TOKEN = 256  # characters


class Loop:
    """`submit` may be called from any thread; `run` is one thread, and alone steps the pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Settings,
        *,
        log: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self._pipeline = pipeline
        self._settings = settings
        self._log = log
        self._clock = clock
        self._pacing = Pacing(settings.messages_per_second)
        self._prefill = PrefillMeter(max(settings.batched_tokens, settings.sequences))
        self._wake = threading.Condition()
        self._waiting: deque[Sequence] = deque()  # guarded by _wake
        self._running: list[Sequence] = []  # the loop's own
        self._stale = False  # the pipeline still holds requests that were stopped; its next step frees them
        self._end: RequestError | None = None  # guarded by _wake: why nothing is taken any more
        self._last_number = 0

    def submit(self, ask: Ask, reply: Reply) -> None:
        """Queue a request; raises RequestError when it cannot be served."""
        self._check_room()
        ids = self._encode(ask.prompt)
        with self._wake:
            self._check_room()
            self._last_number += 1
            self._waiting.append(Sequence(self._last_number, ask, ids, reply))
            self._count()
            self._wake.notify()

    def stop(self, reason: RequestError) -> None:
        """Take nothing new and fail what is under way with the reason; `run` then returns."""
        with self._wake:
            self._end = self._end or reason
            self._wake.notify()

    def run(self) -> None:
        """Serve until stopped. What the pipeline itself raises fails all under way, and is raised on."""
        try:
            while self._wait_for_work():
                self._turn()
        except Exception as error:
            self.stop(RequestError(f"the engine failed: {error}"))
            raise
        finally:
            self._fail_all()

    def _check_room(self) -> None:
        if self._end is not None:
            raise self._end
        if len(self._waiting) + len(self._running) >= self._settings.queue + self._settings.sequences:
            raise Overloaded(f"{self._settings.sequences} requests run and {self._settings.queue} wait")

    def _encode(self, prompt: str) -> list[int]:
        most = self._settings.context - 1
        if len(prompt) > self._settings.context * LONGEST_TOKEN:  # not worth the tokenizer's time
            raise ContextLengthExceeded(f"the prompt has {len(prompt)} characters; this release takes {most} tokens")
        ids = self._pipeline.encode(prompt) if prompt else []
        if not ids:
            raise InvalidRequest("the prompt is empty")
        if len(ids) > most:
            raise ContextLengthExceeded(f"the prompt has {len(ids)} tokens; this release takes at most {most}")
        return ids

    def _wait_for_work(self) -> bool:
        with self._wake:
            while self._end is None and not (self._waiting or self._running or self._stale):
                self._wake.wait()
            return self._end is None

    def _turn(self) -> None:
        self._drop_departed()
        self._admit()
        if not self._running and not self._stale:
            return
        self.counters.prefilled_tokens += self._prefill.count_step(sum(one.answered for one in self._running))
        self._pipeline.step()
        self._stale = False
        self.counters.iterations += 1
        self._each(self._running, self._collect)
        now = self._clock()
        self._decode([one for one in self._running if one.want_text(now)])
        self._each(self._running, lambda one: self._send(one, now))

    def _admit(self) -> None:
        while len(self._running) < self._settings.sequences:
            with self._wake:
                if not self._waiting:
                    return
                one = self._waiting.popleft()
                self._running.append(one)
                self._count()
            self._each([one], self._start)

    def _start(self, one: Sequence) -> None:
        most = self._find_budget(one)
        one.handle = self._pipeline.add(one.number, one.ids, sampling=one.ask.sampling, most_new=most)
        self._prefill.add(one.number, len(one.ids))

    def _find_budget(self, one: Sequence) -> int:
        most = min(self._settings.max_tokens, self._settings.context - len(one.ids))
        return min(one.ask.sampling.max_tokens or most, most)

    def _each(self, ones: list[Sequence], act: Callable[[Sequence], None]) -> None:
        """Do it for each; one that raises is failed alone."""
        for one in list(ones):
            try:
                act(one)
            except RequestError as error:
                self._drop(one, error)
            except Exception as error:
                self._log(f"request {one.number} failed: {error!r}")
                self._drop(one, RequestError(f"{type(error).__name__}: {error}"))

    def _collect(self, one: Sequence) -> None:
        assert one.handle is not None
        tokens, finish = one.handle.read()
        if tokens and not one.answered:
            one.answered = True
            self.counters.prefilled_tokens += self._prefill.close(one.number, through=True)
        self.counters.generated_tokens += len(tokens)
        if tokens or finish:
            one.add(tokens, finish)

    def _decode(self, wanted: list[Sequence]) -> None:
        """In one call for all, since a call costs as much as forty answers in it."""
        for skip in (True, False):
            group = [one for one in wanted if one.ask.sampling.skip_special_tokens is skip]
            if group:
                self._decode_group(group, partial(self._decode_one, skip=skip), skip=skip)

    def _decode_group(self, group: list[Sequence], decode: Decode, *, skip: bool) -> None:
        try:
            texts = self._pipeline.decode([one.window for one in group], skip_special_tokens=skip)
        except Exception as error:  # one of them; find out which
            self._log(f"decoding {len(group)} answers failed: {error!r}")
            self._each(group, lambda one: one.take_text(decode(one.window), decode))
            return
        text_of = {one.number: text for one, text in zip(group, texts, strict=True)}
        self._each(group, lambda one: one.take_text(text_of[one.number], decode))

    def _decode_one(self, ids: Items[int], *, skip: bool) -> str:
        return self._pipeline.decode([ids], skip_special_tokens=skip)[0]

    def _send(self, one: Sequence, now: float) -> None:
        message = one.take_message(now, gap=self._pacing.message_gap(len(self._running)))
        if message is None:
            return
        if message.finish is not None:
            self._forget(one)
        one.reply.send(message, input_tokens=len(one.ids))

    def _drop_departed(self) -> None:
        now = self._clock()
        with self._wake:
            everyone = [*self._running, *self._waiting]
        due = [one for one in everyone if now >= one.next_check]
        for one in due:
            one.next_check = now + self._pacing.check_gap(len(everyone))
        self._each(due, lambda one: self._check_client(one, now))

    def _check_client(self, one: Sequence, now: float) -> None:
        if one.reply.is_cancelled():
            one.finish = "cancelled"
            self._send(one, now)

    def _drop(self, one: Sequence, error: RequestError) -> None:
        self._forget(one)
        self._fail(one, error)

    def _fail(self, one: Sequence, error: RequestError) -> None:
        try:
            one.reply.fail(error)
        except Exception as failure:  # nobody is there to hear it
            self._log(f"request {one.number}: {error}; and that could not be sent: {failure!r}")

    def _forget(self, one: Sequence) -> None:
        """It is over: give its places back. Stopping a generation that has ended is harmless."""
        if one.handle is not None:
            one.handle.stop()
            self._stale = True
        self._prefill.close(one.number, through=False)
        with self._wake:
            if one in self._running:
                self._running.remove(one)
            elif one in self._waiting:
                self._waiting.remove(one)
            self._count()

    def _fail_all(self) -> None:
        with self._wake:
            self._end = self._end or Stopping("the engine stops")
            everyone = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
            self._count()
        for one in everyone:
            self._fail(one, self._end)

    def _count(self) -> None:
        self.counters.running = len(self._running)
        self.counters.waiting = len(self._waiting)
