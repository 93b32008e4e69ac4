"""Renders answers in OpenAI's form: whole ones, and the chunks of a stream."""

import json
from dataclasses import dataclass
from json.encoder import encode_basestring as quote

from dsops.core.chat import Delta
from dsops.node.gateway.release import Served

DONE = "data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request."""

    prompt: int
    completion: int

    def render(self) -> str:
        total = self.prompt + self.completion
        return f'{{"prompt_tokens":{self.prompt},"completion_tokens":{self.completion},"total_tokens":{total}}}'


@dataclass(frozen=True, slots=True)
class Head:
    """What every object of one answer begins with. created: Unix seconds."""

    id: str
    created: int
    model: str
    release: str

    def render(self, kind: str) -> str:
        return (
            f'{{"id":{quote(self.id)},"object":"{kind}","created":{self.created},'
            f'"model":{quote(self.model)},"system_fingerprint":{quote(self.release)},"choices":['
        )


class ChatForm:
    """chat.completion and chat.completion.chunk."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._chunk = "data: " + head.render("chat.completion.chunk")

    def render_whole(self, answer: Delta, *, finish: str, usage: Usage) -> str:
        reasoning = quote(answer.reasoning) if answer.reasoning else "null"
        return (
            f'{self._head.render("chat.completion")}{{"index":0,"message":{{"role":"assistant",'
            f'"content":{quote(answer.content)},"reasoning_content":{reasoning}}},'
            f'"logprobs":null,"finish_reason":"{finish}"}}],"usage":{usage.render()}}}'
        )

    def render_first(self) -> str:
        return self._render_chunk('"role":"assistant","content":""', "null")

    def render_delta(self, delta: Delta) -> str:
        parts = []
        if delta.reasoning:
            parts.append('"reasoning_content":' + quote(delta.reasoning))
        if delta.content:
            parts.append('"content":' + quote(delta.content))
        return self._render_chunk(",".join(parts), "null") if parts else ""

    def render_finish(self, finish: str) -> str:
        return self._render_chunk("", f'"{finish}"')

    def render_usage(self, usage: Usage) -> str:
        return f'{self._chunk}],"usage":{usage.render()}}}\n\n'

    def _render_chunk(self, delta: str, finish: str) -> str:
        return f'{self._chunk}{{"index":0,"delta":{{{delta}}},"logprobs":null,"finish_reason":{finish}}}]}}\n\n'


class CompletionForm:
    """text_completion, whole or in chunks of the same form."""

    def __init__(self, head: Head) -> None:
        self._head = head.render("text_completion")

    def render_whole(self, answer: Delta, *, finish: str, usage: Usage) -> str:
        choice = self._choice(answer.content, f'"{finish}"')
        return f'{self._head}{choice}],"usage":{usage.render()}}}'

    def render_first(self) -> str:
        return ""

    def render_delta(self, delta: Delta) -> str:
        return self._render_chunk(delta.content, "null") if delta.content else ""

    def render_finish(self, finish: str) -> str:
        return self._render_chunk("", f'"{finish}"')

    def render_usage(self, usage: Usage) -> str:
        return f'data: {self._head}],"usage":{usage.render()}}}\n\n'

    def _render_chunk(self, text: str, finish: str) -> str:
        return f"data: {self._head}{self._choice(text, finish)}]}}\n\n"

    def _choice(self, text: str, finish: str) -> str:
        return f'{{"index":0,"text":{quote(text)},"logprobs":null,"finish_reason":{finish}}}'


Form = ChatForm | CompletionForm


def render_model(release: Served) -> dict[str, object]:
    return {
        "id": release.model,
        "object": "model",
        "created": release.created,
        "owned_by": "dsops",
        "release": release.id,
        "max_model_len": release.limits.context,
        "max_tokens": release.limits.max_tokens,
    }


def render_models(releases: list[Served]) -> bytes:
    return json.dumps({"object": "list", "data": [render_model(r) for r in releases]}).encode()
