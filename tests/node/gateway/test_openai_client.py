"""The official client, unchanged, is the judge."""

import asyncio

import openai
import pytest

from tests.node.gateway.bed import KEY, Bed


def ask(prompt: str) -> list[openai.types.chat.ChatCompletionMessageParam]:
    return [{"role": "user", "content": prompt}]


@pytest.fixture(scope="module")
def client(shared: Bed) -> openai.OpenAI:
    return openai.OpenAI(base_url=shared.url + "/v1", api_key=KEY, max_retries=0)


def test_a_whole_answer_has_reasoning_apart_from_content_and_usage(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny-r1", messages=ask("hi"), max_completion_tokens=50)
    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("hello", "hm")  # type: ignore[attr-defined]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens == 18


def test_a_streamed_answer_is_the_same_one(client: openai.OpenAI) -> None:
    content = reasoning = ""
    finish, usage = None, None
    stream = client.chat.completions.create(
        model="tiny-r1", messages=ask("hi"), stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            finish = choice.finish_reason or finish
    assert (reasoning, content, finish) == ("hm", "hello", "stop")
    assert usage is not None
    assert usage.completion_tokens == 18


def test_the_async_client_gets_sixteen_answers_at_once(shared: Bed) -> None:
    async def run() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=shared.url + "/v1", api_key=KEY, max_retries=0) as client:

            async def whole(i: int) -> str | None:
                answer = await client.chat.completions.create(model="tiny-r1", messages=ask(f"{{say:</think>{i}}}"))
                return answer.choices[0].message.content

            async def streamed(i: int) -> str:
                stream = await client.chat.completions.create(
                    model="tiny-r1", messages=ask(f"{{say:</think>{i}}}"), stream=True
                )
                return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

            return await asyncio.gather(*(whole(i) if i % 2 else streamed(i) for i in range(64)))

    assert asyncio.run(run()) == [str(i) for i in range(64)]


def test_completions_return_the_plain_text(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="tiny-r1", prompt="{say:a</think>b}", max_tokens=9)
    assert answer.choices[0].text == "a</think>b"
    pieces = client.completions.create(model="tiny-r1", prompt="{say:a</think>b}", stream=True)
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == "a</think>b"


def test_models_are_listed_and_shown(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny-r1"]
    assert client.models.retrieve("tiny-r1").owned_by == "dsops"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_errors_become_the_clients_own_exceptions(client: openai.OpenAI, shared: Bed) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist here; this server has 'tiny-r1'"):
        client.chat.completions.create(model="gpt-4", messages=ask("hi"))
    with pytest.raises(openai.BadRequestError) as too_long:
        client.chat.completions.create(
            model="tiny-r1", messages=ask("{error:context_length_exceeded: 2000 > 1024}"), stream=True
        )
    assert too_long.value.code == "context_length_exceeded"
    assert too_long.value.param == "messages"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=shared.url + "/v1", api_key="sk-wrong", max_retries=0).models.list()


def test_an_error_in_the_middle_of_a_stream_reaches_the_client(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="tiny-r1", messages=ask("{later:the GPU is gone}"), stream=True)
    assert next(iter(stream)).choices[0].delta.role == "assistant"
    with pytest.raises(openai.APIError, match="the GPU is gone"):
        list(stream)
