"""A passport: what several runs showed on one kind of hardware, in bytes that can be signed; and what it demands."""

import json
from dataclasses import replace
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from dsops.core.passport import (
    Answered,
    Hardware,
    Policy,
    Run,
    Seen,
    check_passports,
    find_fitting,
    find_unseen,
    get_key,
    judge_load,
    judge_rate,
    parse_passport,
)

from tests.core.passports import COLD, CPU, H100, T4, WARM, make

R = "r0123456789ab"
OLD = {
    "format": 1,
    "release": R,
    "made_at": 1.0,
    "node": "gpu1",
    "gpus": ["H100"],
    "engine": "openvino",
    "accepted": 12,
    "prompts": 12,
    "load_seconds": 0.5,
    "tokens_per_second": 800.0,
}


def test_it_comes_back_as_it_went_in_equal_bytes() -> None:
    passport = make()
    assert parse_passport(passport.render(), where="x") == passport
    assert passport.render() == make().render()
    assert get_key(passport.render()) != get_key(make(node="gpu2").render())


def test_it_tells_its_rate_and_its_loads() -> None:
    passport = make(runs=(Run(COLD, 700.0, 40.0, 0.1), Run(COLD, 600.0, 9.0, 1.0), Run(WARM, 800.0), Run(WARM, None)))
    assert (passport.rate, min(passport.rates)) == (700.0, 600.0)
    assert passport.floor == pytest.approx(490.0)
    assert (passport.cold_load, passport.warm_load, passport.load_seconds) == (40.0, 9.0, 40.0)
    assert make(runs=(Run(WARM, None),)).rate is None
    assert make(runs=(Run(WARM, None),)).floor is None


def test_one_of_format_1_is_read_as_one_with_one_run() -> None:
    passport = parse_passport(json.dumps(OLD).encode(), where="x")
    assert passport.runs == (Run(COLD, 800.0, 0.5),)
    assert (passport.hardware, passport.accepted, passport.prompts, passport.format) == (Hardware(("H100",)), 12, 12, 1)
    assert (passport.rate, passport.load_seconds, passport.answers) == (800.0, 0.5, ())
    cpu = parse_passport(json.dumps(OLD | {"gpus": []}).encode(), where="x")
    assert cpu.hardware.fits(CPU)
    assert cpu.hardware.says == "a CPU"
    assert not cpu.hardware.fits(H100)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 3}, "passport format 3 is not known"),
        ({"format": "2"}, "passport format '2' is not known"),
        ({"format": True}, "passport format True is not known"),
        ({"accepted": "12"}, "accepted: should be a whole number"),
        ({"accepted": 0}, "accepted is 0 of 8 prompts"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"prompts": 0, "accepted": 0, "answers": []}, "prompts is 0: nothing was asked"),
        ({"answers": []}, "answers: 0 prompts, a passport wants 8 to 32"),
        ({"prompts": 9, "accepted": 9}, "prompts is 9, and there are answers to 8"),
        ({"runs": []}, "runs: there is none"),
        ({"runs": [{"kind": "warm", "tokens_per_second": 0}] * 3}, "a token rate is not over 0"),
        ({"runs": [{"kind": "warm", "tokens_per_second": -1.0}] * 3}, "a token rate is not over 0"),
        ({"runs": [{"kind": "warm", "tokens_per_second": 1e999}] * 3}, "a number in it is not finite"),
        ({"runs": [{"kind": "warm", "tokens_per_second": 1.0}]}, "answers: not one for each of 1 runs"),
        ({"runs": [{"kind": "hot", "tokens_per_second": 1.0}]}, "should be one of cold, warm"),
        ({"runs": [{"kind": "cold", "tokens_per_second": 1.0, "load_seconds": -2.0}] * 3}, "a load time is below 0"),
        ({"hardware": {}}, "neither GPU nor CPU"),
        ({"least_share": 0}, "least_share is 0, no share over 0"),
        ({"least_share": 1.5}, "least_share is 1.5"),
        ({"most_load": 0.5}, "most_load is 0.5"),
    ],
)
def test_what_is_none_is_refused_with_its_key(change: dict[str, Any], says: str) -> None:
    data = json.loads(make().render()) | change
    with pytest.raises(DsopsError, match=says) as caught:
        parse_passport(json.dumps(data).replace("Infinity", "1e999").encode(), where="x")
    assert caught.value.mend


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"NaN", make().render()[:-40], b"[" * 100_000])
def test_what_is_truncated_or_no_table_is_refused(content: bytes) -> None:
    with pytest.raises(DsopsError) as caught:
        parse_passport(content, where="x")
    assert caught.value.mend


@pytest.mark.parametrize("count", [0, 3, 7, 33])
def test_a_release_with_too_few_or_too_many_prompts_gets_none(count: int) -> None:
    answers = [Answered(f"p{number}", (Seen("yes", 3),)) for number in range(count)]
    with pytest.raises(DsopsError, match=f"has {count} golden prompts, a passport wants 8 to 32") as caught:
        make(answers=answers)
    assert "dsops release build" in caught.value.mend


def test_hardware_fits_by_its_gpus_and_their_number_or_by_its_cpu() -> None:
    assert H100.fits(replace(H100, cpu="another", cores=1))
    assert not H100.fits(Hardware(("NVIDIA H100",) * 7))
    assert not H100.fits(CPU)
    assert not CPU.fits(Hardware((), "Xeon", 4))
    assert Hardware(("A", "B")).fits(Hardware(("B", "A")))
    assert (H100.says, CPU.says, Hardware(("A", "B", "A")).says) == ("8 x NVIDIA H100", "Xeon, 2 cores", "2 x A, 1 x B")


def test_the_newest_for_this_hardware_counts() -> None:
    old, new, other = make(made_at=1.0), make(made_at=2.0), make(made_at=3.0, hardware=T4)
    assert find_fitting([new, old, other], H100) is new
    assert find_fitting([new, old, other], CPU) is None


def test_one_of_other_hardware_is_refused_naming_both() -> None:
    for policy in Policy:
        with pytest.raises(DsopsError) as caught:
            check_passports(R, [make()], hardware=T4, policy=policy)
        assert caught.value.what == f"the passport of {R} was made on 8 x NVIDIA H100, this node has 4 x Tesla T4"
        assert "--without-passport" in caught.value.mend
        assert check_passports(R, [make(), make(hardware=T4)], hardware=T4, policy=policy) == make(hardware=T4)


def test_without_any_it_depends_on_the_site() -> None:
    assert check_passports(R, [], hardware=CPU, policy=Policy.WHEN_THERE) is None
    assert check_passports(R, [make()], hardware=None, policy=Policy.WHEN_THERE) is None
    with pytest.raises(DsopsError, match=f"{R} has no passport, and this site demands one") as caught:
        check_passports(R, [], hardware=CPU, policy=Policy.DEMANDED)
    assert "`dsops release passport NODE`" in caught.value.mend
    with pytest.raises(DsopsError, match="nobody said what hardware this is"):
        check_passports(R, [make()], hardware=None, policy=Policy.DEMANDED)


def test_a_rate_below_its_share_is_told_with_both() -> None:
    passport = make()
    assert judge_rate(passport, []) == ""
    assert judge_rate(passport, [559.0, 561.0]) == ""
    assert judge_rate(passport, [310.0, 305.0]) == (
        "310 and 305 tokens/s, 39% of the 800 of its passport (gpu1, 8 x NVIDIA H100), at least 70% are wanted"
    )
    assert judge_rate(replace(passport, least_share=0.3), [310.0]) == ""


def test_a_load_is_only_held_against_one_of_its_kind() -> None:
    both = make(runs=(Run(COLD, 700.0, 40.0, 0.0), Run(COLD, 700.0, 2.0, 1.0), Run(WARM, 1.0)))
    assert judge_load(both, 119.0, cached=0.0) == ""
    assert judge_load(both, 121.0, cached=0.0) == (
        "it loaded in 121.0 s from the disk; its passport (gpu1) says 40.0 s, 120.0 s at most"
    )
    assert judge_load(both, 11.9, cached=0.9) == ""
    assert "out of the page cache; its passport (gpu1) says 2.0 s" in judge_load(both, 13.0, cached=0.9)
    warm_only = make(runs=(Run(COLD, 700.0, 2.0, 1.0),))
    assert judge_load(warm_only, 500.0, cached=0.0) == "", "nothing like it was measured"
    cold_only = make(runs=(Run(COLD, 700.0, 40.0, 0.0),))
    assert judge_load(cold_only, 121.0, cached=1.0) != ""
    assert judge_load(make(runs=(Run(WARM, 1.0),)), 1e6, cached=None) == ""


def test_an_answer_in_words_that_it_has_not_is_found() -> None:
    given = [("p0", "answer 0"), ("p1", "other words"), ("new", "x")]
    assert find_unseen(make(), given) == ("p1",)
