"""What a client asks for: the JSON body of a request, checked once and turned into a frozen dataclass."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dsops.node.gateway.errors import ApiError, bad_value, unsupported

MAX_STOPS = 4
MAX_STOP_CHARS = 256


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for text. Either messages (chat) or prompt (completions) is set."""

    model: str
    messages: tuple[Mapping[str, str], ...] = ()
    prompt: str = ""
    stream: bool = False
    include_usage: bool = False
    stops: tuple[str, ...] = ()
    max_tokens: int | None = None
    max_tokens_param: str = "max_tokens"
    sampling: Mapping[str, float | bool] = field(default_factory=dict)


def parse_json(body: bytes) -> dict[str, Any]:
    """The object in a request body; raises ApiError that says where it is wrong."""
    try:
        data = _DECODER.decode(body.decode())
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno} (char {error.pos})"
        raise _invalid_json(f"{error.msg} at {place}") from None
    except UnicodeDecodeError as error:
        raise _invalid_json(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise _invalid_json("nested too deeply") from None
    except ValueError as error:
        raise _invalid_json(str(error)) from None
    if not isinstance(data, dict):
        raise ApiError(400, f"request body should be an object, is {_kind(data)}", code="invalid_type")
    return data


def parse_chat(data: Mapping[str, Any]) -> Ask:
    """The body of /v1/chat/completions."""
    if "messages" not in data:
        raise bad_value("messages", "is missing", code="missing_required_parameter")
    return _parse(data, known=_CHAT)


def parse_completion(data: Mapping[str, Any]) -> Ask:
    """The body of /v1/completions."""
    if "prompt" not in data:
        raise bad_value("prompt", "is missing", code="missing_required_parameter")
    return _parse(data, known=_COMPLETION)


Fields = dict[str, Any]
Reader = Callable[[str, Any, Fields], None]


def _parse(data: Mapping[str, Any], *, known: Mapping[str, Reader]) -> Ask:
    fields: Fields = {"sampling": {}}
    for name, value in data.items():
        reader = known.get(name)
        if reader is None:
            raise unsupported(name)
        if value is not None or name in ("model", "messages", "prompt"):
            reader(name, value, fields)
    if "model" not in fields:
        raise bad_value("model", "is missing", code="missing_required_parameter")
    if fields.get("include_usage") and not fields.get("stream"):
        raise bad_value("stream_options", "is only allowed when stream is true")
    return Ask(**fields)


def _invalid_json(why: str) -> ApiError:
    return ApiError(400, f"request body is not valid JSON: {why}", code="invalid_json")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    kinds = {str: "a string", int: "an integer", float: "a number", list: "an array", dict: "an object"}
    return kinds.get(type(value), "null")


def _want(param: str, value: object, kind: type | tuple[type, ...], name: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise bad_value(param, f"should be {name}, is {_kind(value)}", code="invalid_type")


def _model(param: str, value: Any, fields: Fields) -> None:
    _want(param, value, str, "a string")
    fields["model"] = value


def _stream(param: str, value: Any, fields: Fields) -> None:
    _want(param, value, bool, "a boolean")
    fields["stream"] = value


def _stream_options(param: str, value: Any, fields: Fields) -> None:
    _want(param, value, dict, "an object")
    for name, option in value.items():
        if name != "include_usage":
            raise unsupported(f"{param}.{name}")
        _want(f"{param}.{name}", option, bool, "a boolean")
        fields["include_usage"] = option


def _stop(param: str, value: Any, fields: Fields) -> None:
    stops = [value] if isinstance(value, str) else value
    _want(param, stops, list, "a string or an array of strings")
    if len(stops) > MAX_STOPS:
        raise bad_value(param, f"holds {len(stops)} sequences, at most {MAX_STOPS} are allowed")
    for i, stop in enumerate(stops):
        where = param if isinstance(value, str) else f"{param}[{i}]"
        _want(where, stop, str, "a string")
        if not 0 < len(stop) <= MAX_STOP_CHARS:
            raise bad_value(where, f"should have 1 to {MAX_STOP_CHARS} characters, has {len(stop)}")
        _encodable(where, stop)
    fields["stops"] = tuple(stops)


def _max_tokens(param: str, value: Any, fields: Fields) -> None:
    _want(param, value, int, "an integer")
    if value < 1:
        raise bad_value(param, f"should be at least 1, is {value}")
    if fields.get("max_tokens", value) != value:
        raise bad_value(param, "max_tokens and max_completion_tokens differ")
    fields["max_tokens"], fields["max_tokens_param"] = value, param


def _number(low: float, high: float, *, above: bool = False, whole: bool = False) -> Reader:
    def read(param: str, value: Any, fields: Fields) -> None:
        _want(param, value, int if whole else (int, float), "an integer" if whole else "a number")
        if not low <= value <= high or (above and value == low):
            raise bad_value(param, f"should be {'above' if above else 'from'} {low} to {high}, is {value}")
        fields["sampling"][param] = value

    return read


def _seed(param: str, value: Any, fields: Fields) -> None:
    _number(-(2**63), 2**63 - 1, whole=True)(param, value, fields)
    # Engines take unsigned seeds; equal seeds stay equal.
    fields["sampling"][param] = value & (2**63 - 1)


def _flag(param: str, value: Any, fields: Fields) -> None:
    _want(param, value, bool, "a boolean")
    fields["sampling"][param] = value


def _only(*allowed: object) -> Reader:
    """For options of OpenAI's API that are fine as long as they ask for nothing."""

    def read(param: str, value: Any, _: Fields) -> None:
        if not any(value == fine and type(value) is type(fine) for fine in allowed):
            raise unsupported(param, f"is not supported by this server (allowed: {json.dumps(allowed[0])})")

    return read


def _ignore(param: str, value: Any, fields: Fields) -> None:
    """Says something about the request that does not change the answer."""


def _prompt(param: str, value: Any, fields: Fields) -> None:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        raise unsupported(param, "with several prompts is not supported; send one request for each")
    if isinstance(value, list) and value:
        raise unsupported(param, "as token ids is not supported; send text")
    _want(param, value, str, "a string")
    _encodable(param, value)
    fields["prompt"] = value


_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_IGNORED_IN_MESSAGE = ("name", "reasoning_content", "refusal")


def _messages(param: str, value: Any, fields: Fields) -> None:
    _want(param, value, list, "an array")
    if not value:
        raise bad_value(param, "should hold at least one message", code="empty_array")
    fields["messages"] = tuple(_message(f"{param}[{i}]", item) for i, item in enumerate(value))


def _message(where: str, value: Any) -> Mapping[str, str]:
    _want(where, value, dict, "an object")
    for name in ("role", "content"):
        if name not in value:
            raise bad_value(f"{where}.{name}", "is missing", code="missing_required_parameter")
    for name, item in value.items():
        if name not in ("role", "content", *_IGNORED_IN_MESSAGE) and item is not None:
            raise unsupported(f"{where}.{name}")
    role = value["role"]
    _want(f"{where}.role", role, str, "a string")
    if role not in _ROLES:
        raise bad_value(f"{where}.role", f"should be one of {', '.join(_ROLES)}, is {role!r}")
    return {"role": _ROLES[role], "content": _content(f"{where}.content", value["content"])}


def _content(where: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(_part(f"{where}[{i}]", part) for i, part in enumerate(value))
    _want(where, value, str, "a string or an array of text parts")
    _encodable(where, value)
    return str(value)


def _part(where: str, part: Any) -> str:
    _want(where, part, dict, "an object")
    if part.get("type") != "text":
        raise unsupported(f"{where}.type", f"should be text, is {part.get('type')!r}")
    return _content(f"{where}.text", part.get("text"))


def _encodable(where: str, text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise bad_value(where, f"half a surrogate pair at character {error.start}") from None


_SHARED: Mapping[str, Reader] = {
    "model": _model,
    "stream": _stream,
    "stream_options": _stream_options,
    "stop": _stop,
    "max_tokens": _max_tokens,
    "temperature": _number(0, 2),
    "top_p": _number(0, 1, above=True),
    "top_k": _number(-1, 1_000_000, whole=True),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "repetition_penalty": _number(0, 10, above=True),
    "seed": _seed,
    "ignore_eos": _flag,
    "n": _only(1),
    "logit_bias": _only({}),
    "user": _ignore,
    "metadata": _ignore,
    "safety_identifier": _ignore,
    "prompt_cache_key": _ignore,
}
_CHAT: Mapping[str, Reader] = {
    **_SHARED,
    "messages": _messages,
    "max_completion_tokens": _max_tokens,
    "logprobs": _only(False),
    "top_logprobs": _only(0),
    "tools": _only([]),
    "tool_choice": _only("none", "auto"),
    "parallel_tool_calls": _ignore,
    "response_format": _only({"type": "text"}),
    "modalities": _only(["text"]),
    "service_tier": _only("auto", "default"),
    "store": _only(False),
}
_COMPLETION: Mapping[str, Reader] = {
    **_SHARED,
    "prompt": _prompt,
    "best_of": _only(1),
    "echo": _only(False),
    "suffix": _only(""),
    "logprobs": _only(False),
}
