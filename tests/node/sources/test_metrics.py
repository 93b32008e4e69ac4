"""Numbers out of a Prometheus page."""

from dsops.node.sources.metrics import parse_sums

PAGE = """# HELP tokens_total Tokens
# TYPE tokens_total counter
tokens_total{engine="openvino",model="a} b"} 12 1700000000
tokens_total{engine="other"} 3e1
running 2
broken{ 5
nothing NaN
words are skipped
"""


def test_labels_are_summed_and_broken_lines_skipped() -> None:
    assert parse_sums(PAGE) == {"tokens_total": 42.0, "running": 2.0}


def test_an_empty_page_has_no_numbers() -> None:
    assert parse_sums("") == {}
