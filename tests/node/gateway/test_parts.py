"""Small parts on their own."""

import pytest
from dsops.node.gateway.metrics import Metrics
from dsops.node.gateway.triton import read_error, read_message, render_request
from dsops.node.gateway.window import Window
from prometheus_client.parser import text_string_to_metric_families

from tests.node.gateway.fake_triton import read_request, render


def test_the_window_forgets_after_a_minute() -> None:
    window = Window()
    window.add_tokens(100, now=1000.0)
    window.add_tokens(100, now=1010.0)
    window.add_latency(2.0, now=1010.0)
    assert window.tokens_per_second(now=1010.0) == 20
    assert window.tokens_per_second(now=1069.0) == pytest.approx(100 / 59)
    assert window.find_quantile(0.99, now=1069.0) == 2.0
    assert window.tokens_per_second(now=1100.0) == 0
    assert window.find_quantile(0.99, now=1100.0) is None


def test_quantiles_come_from_the_latest_requests() -> None:
    window = Window(size=100)
    for i in range(1000):
        window.add_latency(float(i), now=1.0)
    assert (window.find_quantile(0.5, now=1.0), window.find_quantile(0.99, now=1.0)) == (950, 999)


def test_series_of_old_releases_are_dropped() -> None:
    metrics = Metrics()
    for i in range(20):
        metrics.get_target("l50", f"r{i}").generated_tokens.inc()
        metrics.count_request("/v1/completions", 200, lane="l50", release=f"r{i}")
    families = text_string_to_metric_families(metrics.render().decode())
    seen = {sample.labels["release"] for family in families for sample in family.samples if "release" in sample.labels}
    assert seen == {"r16", "r17", "r18", "r19"}


def test_a_request_has_the_contracts_tensors() -> None:
    request = render_request("7", prompt="é".encode(), stream=True, sampling={"top_p": 0.5}, stops=("x",))
    asked = read_request(request)
    assert (asked["prompt"], asked["sampling"], asked["stream"]) == ("é", {"top_p": 0.5, "stop": ["x"]}, True)
    assert [tensor.name for tensor in request.inputs] == [
        "text_input",
        "sampling_parameters",
        "stream",
        "exclude_input_in_output",
        "return_finish_reason",
        "return_num_input_tokens",
        "return_num_output_tokens",
    ]


def test_several_pieces_in_one_message_are_joined() -> None:
    answer = render("1", {"text": "ab", "tokens": 2}).infer_response
    answer.raw_output_contents[0] += b"\x01\x00\x00\x00c"
    message = read_message(answer)
    assert (message.text, message.new_tokens, message.final) == (b"abc", 2, False)


def test_an_empty_final_message_is_understood() -> None:
    answer = render("1", {"final": True}).infer_response
    del answer.outputs[:]
    del answer.raw_output_contents[:]
    message = read_message(answer)
    assert (message.text, message.final, message.finish) == (b"", True, "")


def test_the_contracts_words_are_found_inside_tritons_own() -> None:
    error = read_error("[StatusCode.UNAVAILABLE] in model 'llm', message: overloaded: 128 requests wait")
    assert (error.status, error.message) == (429, "128 requests wait")
