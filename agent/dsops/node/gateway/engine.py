"""The way of one request to the engine and back: admission, prompt, deadlines, whole answers and streams."""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dsops.core.chat import Delta, PromptRefusedError, ReasoningSplitter, render_prompt
from dsops.core.errors import DsopsError
from dsops.node.gateway.answers import DONE, ChatForm, CompletionForm, Form, Head, Usage
from dsops.node.gateway.ask import Ask
from dsops.node.gateway.config import Config
from dsops.node.gateway.errors import ApiError, bad_value, retry_later
from dsops.node.gateway.exchange import Exchange
from dsops.node.gateway.metrics import Metrics
from dsops.node.gateway.pipeline import Pipeline
from dsops.node.gateway.release import Served, Target
from dsops.node.gateway.triton import Generation, Message, Slot, render_request
from dsops.node.gateway.window import Window


@dataclass(slots=True)
class Job:
    """One admitted request. Times are of time.monotonic."""

    exchange: Exchange
    ask: Ask
    form: Form
    pipeline: Pipeline
    generation: Generation
    target: Target
    began: float
    first_at: float = 0.0
    first_tokens: int = 0

    def take(self, message: Message) -> Delta:
        delta = self.pipeline.feed(message)
        if not self.first_at:
            self.first_at, self.first_tokens = time.monotonic(), self.pipeline.completion_tokens
        return delta

    @property
    def usage(self) -> Usage:
        return Usage(prompt=self.pipeline.prompt_tokens, completion=self.pipeline.completion_tokens)


class Engine:
    """Answers requests for text; counts what is under way."""

    def __init__(self, config: Config, *, slots: Mapping[str, Slot], metrics: Metrics, window: Window) -> None:
        self._config = config
        self._slots = slots
        self._metrics = metrics
        self._window = window
        self.in_flight = 0

    async def answer(self, exchange: Exchange, ask: Ask, target: Target, *, probing: bool = False) -> None:
        """Sends the whole response; raises ApiError. A probe takes no client's place and is not counted as one."""
        _check_release(ask, target.release)
        began = time.monotonic()
        if probing:
            await self._answer(exchange, ask, target, began=began, count=_count_nothing)
            return
        self._admit()
        try:
            await self._answer(exchange, ask, target, began=began, count=self._count)
        finally:
            self.in_flight -= 1
            self._metrics.in_flight.set(self.in_flight)

    async def _answer(
        self, exchange: Exchange, ask: Ask, target: Target, *, began: float, count: Callable[[Job], None]
    ) -> None:
        with exchange.watch_client():
            job = self._make_job(exchange, ask, target, began=began)
            try:
                await (self._stream(job) if ask.stream else self._whole(job))
            except ApiError as error:
                if error.code == "overloaded":
                    error.retry_after = self._estimate_wait()
                raise
            finally:
                job.generation.abandon()
                count(job)

    def _admit(self) -> None:
        if self.in_flight >= self._config.max_in_flight:
            self._metrics.rejected.labels("concurrency").inc()
            message = f"{self.in_flight} requests are under way on this server, the most it takes"
            raise retry_later(429, message, code="concurrency_limit", after=self._estimate_wait())
        self.in_flight += 1
        self._metrics.in_flight.set(self.in_flight)

    def _estimate_wait(self) -> int:
        """Seconds until a place is likely free: what half of the last minute's answers took, 1 to 60."""
        half = self._window.find_quantile(0.5, now=time.monotonic()) or 1.0
        return min(60, max(1, math.ceil(half)))

    def _make_job(self, exchange: Exchange, ask: Ask, target: Target, *, began: float) -> Job:
        release = target.release
        slot = self._slots.get(target.slot)
        if slot is None:
            what = f"lane {target.lane} leads to slot {target.slot!r}, which is not configured"
            raise retry_later(503, what, code="not_ready", after=5)
        prompt, opened = _make_prompt(ask, release)
        splitter = ReasoningSplitter(release.tags if ask.messages else None, opened=opened)
        number = secrets.token_hex(12)
        head = Head(id="", created=int(time.time()), model=release.model, release=release.id)
        sampling = {**ask.sampling, "max_tokens": ask.max_tokens or release.limits.max_tokens}
        return Job(
            exchange=exchange,
            ask=ask,
            form=_make_form(head, number, chat=bool(ask.messages)),
            pipeline=Pipeline(stops=ask.stops, splitter=splitter),
            generation=slot.start(
                render_request(number, prompt=prompt, stream=ask.stream, sampling=sampling, stops=ask.stops)
            ),
            target=target,
            began=began,
        )

    async def _whole(self, job: Job) -> None:
        try:
            async with asyncio.timeout(self._config.deadline):
                answer = await _collect(job)
        except TimeoutError:
            raise _too_slow(f"the answer took longer than {self._config.deadline:g} s") from None
        text = job.form.render_whole(answer, finish=job.pipeline.finish, usage=job.usage)
        await job.exchange.send_json(200, text.encode())

    async def _stream(self, job: Job) -> None:
        try:
            await self._send_stream(job)
        except TimeoutError:
            raise _too_slow(self._explain_wait(job)) from None

    async def _send_stream(self, job: Job) -> None:
        loop, config, form = asyncio.get_running_loop(), self._config, job.form
        end = loop.time() + config.deadline
        async with asyncio.timeout_at(min(end, loop.time() + config.first_token_timeout)) as clock:
            # Nothing is sent before the engine's first word, so that its refusal still gets an HTTP status.
            message = await job.generation.first()
            while not (message.text or message.final):
                job.pipeline.feed(message)
                message = await job.generation.next()
            text = form.render_first() + form.render_delta(job.take(message))
            await job.exchange.start_stream()
            while not job.pipeline.finish:
                if text:
                    await job.exchange.send_events(text)
                clock.reschedule(min(end, loop.time() + config.token_timeout))
                text = form.render_delta(job.take(await job.generation.next()))
            text += form.render_finish(job.pipeline.finish)
            text += form.render_usage(job.usage) if job.ask.include_usage else ""
            await job.exchange.send_events(text + DONE, last=True)

    def _explain_wait(self, job: Job) -> str:
        if time.monotonic() - job.began >= self._config.deadline:
            return f"the answer took longer than {self._config.deadline:g} s"
        if job.exchange.started:
            return f"the engine sent nothing for {self._config.token_timeout:g} s"
        return f"no token within {self._config.first_token_timeout:g} s"

    def _count(self, job: Job) -> None:
        now, tokens = time.monotonic(), job.pipeline.completion_tokens
        metrics = self._metrics.get_target(job.target.lane, job.target.release.id)
        metrics.prompt_tokens.inc(job.pipeline.prompt_tokens)
        metrics.generated_tokens.inc(tokens)
        self._window.add_tokens(tokens, now=now)
        if not job.pipeline.finish:
            return
        metrics.whole.observe(now - job.began)
        self._window.add_latency(now - job.began, now=now)
        if job.ask.stream:
            metrics.observe_ttft(job.first_at - job.began)
            if tokens > job.first_tokens:
                metrics.observe_per_token((now - job.first_at) / (tokens - job.first_tokens))


def _check_release(ask: Ask, release: Served) -> None:
    if ask.model != release.model:
        message = f"the model {ask.model!r} does not exist here; this server has {release.model!r}"
        raise ApiError(404, message, code="model_not_found", param="model")
    most = release.limits.max_tokens
    if ask.max_tokens is not None and ask.max_tokens > most:
        raise bad_value(ask.max_tokens_param, f"is {ask.max_tokens}, this release allows at most {most}")


def _make_prompt(ask: Ask, release: Served) -> tuple[bytes, bool]:
    """The prompt, and whether it ends inside the reasoning; the rendered prompt itself decides."""
    if not ask.messages:
        return ask.prompt.encode(), False
    variables = {"bos_token": release.bos, "eos_token": release.eos}
    try:
        prompt = render_prompt(release.template, ask.messages, variables=variables)
    except PromptRefusedError as error:
        raise ApiError(400, error.what, code="invalid_value", param="messages") from None
    except DsopsError as error:
        raise ApiError(500, error.what, code="template_error") from None
    tags = release.tags
    return prompt.encode(), bool(tags and release.opened_by_prompt and prompt.rstrip().endswith(tags.open))


def _make_form(head: Head, number: str, *, chat: bool) -> Form:
    if chat:
        return ChatForm(Head(f"chatcmpl-{number}", head.created, head.model, head.release))
    return CompletionForm(Head(f"cmpl-{number}", head.created, head.model, head.release))


async def _collect(job: Job) -> Delta:
    delta = job.take(await job.generation.first())
    if job.pipeline.finish:
        return delta
    parts = [delta]
    while not job.pipeline.finish:
        parts.append(job.take(await job.generation.next()))
    return Delta(reasoning="".join(d.reasoning for d in parts), content="".join(d.content for d in parts))


def _count_nothing(_: Job) -> None:
    """Of probes: clients' figures are of clients."""


def _too_slow(message: str) -> ApiError:
    return ApiError(504, message, code="deadline_exceeded")
