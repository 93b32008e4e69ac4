"""How a conversation becomes a prompt, and how generated text becomes reasoning, content and a stop."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dsops.core.errors import DsopsError


class PromptRefusedError(DsopsError):
    """The template itself refuses this conversation: the client's mistake, not ours."""


class _RefusedByTemplateError(TemplateError):
    pass


class _Generation(Extension):
    """`{% generation %}` marks the assistant's own words for training; for serving only its body counts."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain set

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def compile_template(source: str, *, now: Callable[[], datetime]) -> Template:
    """A chat template with the helpers that Hugging Face templates expect; raises DsopsError if broken."""
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _refuse
    env.globals["strftime_now"] = lambda form: now().strftime(form)
    try:
        return env.from_string(source)
    except TemplateError as error:
        line = getattr(error, "lineno", "?")
        raise DsopsError(f"chat template does not compile: {error} (line {line})") from error


def render_prompt(template: Template, messages: Sequence[Mapping[str, str]], *, variables: Mapping[str, Any]) -> str:
    """The prompt of these messages; raises PromptRefusedError when the template refuses them."""
    try:
        return template.render(messages=messages, add_generation_prompt=True, **variables)
    except _RefusedByTemplateError as error:
        raise PromptRefusedError(f"the chat template refuses: {error}", where="messages") from error
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise DsopsError(f"the chat template failed: {type(error).__name__}: {error}") from error


def _refuse(message: str) -> None:
    raise _RefusedByTemplateError(message)


def _tojson(value: object, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    # Jinja's own filter escapes HTML, which would change what the model reads.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


class StopFinder:
    """Cuts a text that arrives in pieces before the stop sequence that is complete first.

    "Complete first", not "begins first": only so is the cut the same for every way to cut the pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """What is safe to pass on now."""
        if not self._stops:
            return text
        if self.found:
            return ""
        text = self._held + text
        hits = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if hits:
            self.found, self._held = True, ""
            return text[: min(hits)[1]]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back, once nothing more comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, mark: str) -> int:
    """Length of the longest end of `text` that is a beginning of `mark`, but not all of it."""
    for size in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[-size:]):
            return size
    return 0


@dataclass(frozen=True, slots=True)
class Tags:
    """What encloses reasoning in a model's output, such as <think> and </think>."""

    open: str
    close: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer, already divided."""

    reasoning: str = ""
    content: str = ""


_BEGIN, _REASONING, _CONTENT = range(3)


class ReasoningSplitter:
    """Divides generated text that arrives in pieces; the result does not depend on how the pieces are cut.

    opened: the prompt ends with the opening tag, so that the output normally carries only the closing one.
    White space around the tags belongs to neither part.
    """

    def __init__(self, tags: Tags | None, *, opened: bool) -> None:
        self._tags = tags
        self._opened = opened
        self._state = _CONTENT if tags is None else _BEGIN
        self._strip = False
        self._held = ""
        self._said: list[str] = []

    def feed(self, text: str) -> Delta:
        if self._state == _CONTENT and not self._strip:
            return Delta(content=text)
        self._held += text
        if self._state == _BEGIN:
            self._begin()
        reasoning = self._take_reasoning() if self._state == _REASONING else ""
        return Delta(reasoning=reasoning, content=self._take_content() if self._state == _CONTENT else "")

    def finish(self, *, ended_by_itself: bool) -> Delta:
        """What was held back.

        A model that ended by itself without ever closing its reasoning did not reason: that comes again
        as content, so that a client that shows only the content has the answer.
        """
        held, self._held = self._held, ""
        if self._state == _CONTENT:
            return Delta(content=held.lstrip() if self._strip else held)
        if self._state == _BEGIN and not self._opened:
            return Delta(content=held)
        rest = held.strip() if self._strip or self._state == _BEGIN else held.rstrip()
        self._said.append(rest)
        whole = "".join(self._said) if ended_by_itself else ""
        return Delta(reasoning=rest, content=whole)

    def _begin(self) -> None:
        """Leaves the first state as soon as it is clear whether the output begins with the opening tag."""
        assert self._tags is not None
        text = self._held.lstrip()
        if text.startswith(self._tags.open):
            self._state, self._strip = _REASONING, True
            self._held = text[len(self._tags.open) :]
        elif not self._tags.open.startswith(text):
            self._state = _REASONING if self._opened else _CONTENT
            self._strip = self._opened

    def _take_reasoning(self) -> str:
        assert self._tags is not None
        text = self._held.lstrip() if self._strip else self._held
        at = text.find(self._tags.close)
        if at >= 0:
            out, self._held = text[:at].rstrip(), text[at + len(self._tags.close) :]
            self._state, self._strip = _CONTENT, True
            self._said.append(out)
            return out
        out = text[: len(text) - _overlap(text, self._tags.close)].rstrip()
        self._held = text[len(out) :]
        self._strip = self._strip and not out
        self._said.append(out)
        return out

    def _take_content(self) -> str:
        text, self._held = self._held, ""
        if not self._strip:
            return text
        text = text.lstrip()
        self._strip = not text
        return text
