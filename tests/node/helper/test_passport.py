"""Passports over the helper's real socket: which it takes in, and which release it lets begin on which hardware."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from dsops.core.errors import DsopsError
from dsops.core.passport import Hardware, Passport, Policy

from tests.core.passports import CPU, H100, T4, make
from tests.node.helper.conftest import Talk, serving
from tests.node.store.bed import Bed, Made, Signer, make_signer

WHO = {"who": "kim", "reason": "new"}


def activate(talk: Talk, made: Made, hardware: Hardware | None = H100, **words: Any) -> dict[str, Any]:
    words |= {"hardware": asdict(hardware)} if hardware else {}
    return talk("activate", release=made.id, **WHO, **words)


def held(bed: Bed, made: Made) -> list[str]:
    return [paper.text for paper in bed.desk().releases.find_passports(made.id)]


def listed(talk: Talk, made: Made) -> dict[str, Any]:
    return next(dict(one) for one in talk("list")["releases"] if one["release"] == made.id)


def test_one_for_each_kind_of_hardware_lies_beside_the_release_and_a_newer_one_takes_its_place(
    talk: Talk, bed: Bed, signer: Signer, one: Made
) -> None:
    talk.push(one)
    first, other = make(release=one.id), make(release=one.id, hardware=T4)
    talk.bring_passports(one, signer.certify(first), signer.certify(other))
    newer = make(release=one.id, made_at=first.made_at + 1)
    talk.bring_passports(one, signer.certify(newer))
    talk.bring_passports(one, signer.certify(newer))
    assert sorted(held(bed, one)) == sorted([newer.render().decode(), other.render().decode()])
    told = listed(talk, one)["passports"]
    assert sorted(kind["hardware"]["gpus"][0] for kind in told) == ["NVIDIA H100", "Tesla T4"]
    assert len(list((bed.root / "passports").iterdir())) == 4


def test_an_older_control_host_brings_one_in_its_own_words(talk: Talk, bed: Bed, signer: Signer, one: Made) -> None:
    talk.push(one)
    pair = signer.certify(make(release=one.id))
    words = {"manifest": one.manifest.decode(), "signature": one.signature.decode()}
    talk("admit", **words, passport=pair["text"], passport_signature=pair["signature"])
    assert held(bed, one) == [pair["text"]]


def test_it_goes_with_its_release(talk: Talk, bed: Bed, signer: Signer, one: Made) -> None:
    talk.push(one)
    talk.bring_passports(one, signer.certify(make(release=one.id)), signer.certify(make(release=one.id, hardware=T4)))
    talk("remove", release=one.id, **WHO)
    assert not list((bed.root / "passports").iterdir())


def altered(pair: dict[str, str]) -> dict[str, str]:
    return pair | {"text": pair["text"].replace("800.0", "1.0")}


def foreign(folder: Path, passport: Passport) -> dict[str, str]:
    return make_signer(folder, name="foreign").certify(passport)


def resigned(signer: Signer, text: str) -> dict[str, str]:
    return {"text": text, "signature": signer.sign_bytes(text.encode()).decode()}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda signer, good, folder: altered(signer.certify(good)), "the signature does not fit the passport"),
        (lambda signer, good, folder: signer.certify(good) | {"signature": ""}, "there is no signature"),
        (lambda signer, good, folder: signer.certify(good) | {"signature": "x"}, "signed by nobody whom this site"),
        (lambda signer, good, folder: foreign(folder, good), "signed by nobody whom this site allows"),
        (lambda signer, good, folder: signer.certify(replace(good, release="r0")), "a passport for r0, not for r"),
        (lambda signer, good, folder: resigned(signer, good.render().decode()[:-40]), "not a whole passport"),
        (lambda signer, good, folder: signer.certify(replace(good, format=3)), "passport format 3 is not known"),
        (lambda signer, good, folder: signer.certify(replace(good, runs=())), "runs: there is none"),
        (lambda signer, good, folder: {"text": 5, "signature": "x"}, "should be a list of {text, signature}"),
        (lambda signer, good, folder: "x", "should be a list of {text, signature}"),
    ],
)
def test_one_that_is_not_good_is_refused_and_nothing_changes(
    talk: Talk,
    bed: Bed,
    signer: Signer,
    one: Made,
    tmp_path: Path,
    spoil: Callable[[Signer, Passport, Path], dict[str, str]],
    says: str,
) -> None:
    talk.push(one)
    good = signer.certify(make(release=one.id))
    talk.bring_passports(one, good)
    with pytest.raises(DsopsError, match=says):
        talk.bring_passports(one, spoil(signer, make(release=one.id, made_at=9e9), tmp_path))
    assert held(bed, one) == [good["text"]]


def test_a_signature_for_something_else_is_none_for_a_passport(talk: Talk, signer: Signer, one: Made) -> None:
    talk.push(one)
    other = Signer(signer.key, signer.allowed, namespace="dsops-bundle-lab@v1")
    with pytest.raises(DsopsError, match="the signature does not fit the passport, or signer may not sign"):
        talk.bring_passports(one, other.certify(make(release=one.id)))


def test_other_hardware_is_refused_before_anything_starts_naming_both(
    talk: Talk, bed: Bed, signer: Signer, one: Made
) -> None:
    talk.push(one)
    talk.bring_passports(one, signer.certify(make(release=one.id)))
    before = bed.desk().moves.read()
    with pytest.raises(DsopsError) as caught:
        activate(talk, one, T4)
    assert caught.value.what == f"the passport of {one.id} was made on 8 x NVIDIA H100, this node has 4 x Tesla T4"
    assert "--without-passport" in caught.value.mend
    assert bed.systemd.asked == []
    assert bed.desk().moves.read() == before
    assert activate(talk, one, H100)["state"]["move"]["step"] == "prove"


def test_a_person_may_bring_it_in_without_to_make_one_and_that_is_audited(
    talk: Talk, bed: Bed, signer: Signer, one: Made
) -> None:
    talk.push(one)
    talk.bring_passports(one, signer.certify(make(release=one.id)))
    activate(talk, one, T4, without_passport=True)
    assert bed.said[-1] == f"dsops: activate {one.id} without a passport by kim: new"


def test_where_none_is_demanded_a_release_without_any_comes_in(talk: Talk, one: Made, two: Made) -> None:
    talk.push(one)
    assert activate(talk, one, CPU)["state"]["move"]
    talk("proven", release=one.id, evidence="x")
    talk.push(two)
    assert activate(talk, two, None)["state"]["move"]


@pytest.mark.parametrize(("hardware", "says"), [(CPU, "this site demands one"), (None, "nobody said what hardware")])
def test_where_one_is_demanded_it_does_not(
    bed: Bed, signer: Signer, one: Made, hardware: Hardware | None, says: str
) -> None:
    bed.settings["passport"] = Policy.DEMANDED
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        talk.push(one)
        with pytest.raises(DsopsError, match=says) as caught:
            activate(talk, one, hardware)
        assert caught.value.mend
        assert bed.systemd.asked == []
        talk.bring_passports(one, signer.certify(make(release=one.id, hardware=CPU)))
        assert activate(talk, one, CPU)["state"]["move"]


def test_one_that_was_spoilt_in_place_is_refused_until_it_comes_again(
    talk: Talk, bed: Bed, signer: Signer, one: Made
) -> None:
    talk.push(one)
    pair = signer.certify(make(release=one.id))
    talk.bring_passports(one, pair)
    (file,) = (bed.root / "passports").glob("*.json")
    for spoilt in (file.read_text().replace("800.0", "1.0"), file.read_text()[:50]):
        file.unlink()
        file.write_text(spoilt)
        with pytest.raises(DsopsError, match="the signature does not fit the passport"):
            activate(talk, one)
    assert "not a whole passport" in listed(talk, one)["passports"][0]["damage"]
    talk.bring_passports(one, pair)
    assert held(bed, one) == [pair["text"]]
    assert activate(talk, one)["state"]["move"]


def test_what_an_older_dsops_left_here_unsigned_is_no_passport(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    (bed.root / f"passports/{one.id}.json").write_text(json.dumps({"load_seconds": 7.5}))
    with pytest.raises(DsopsError, match="there is no signature"):
        activate(talk, one)


@pytest.mark.parametrize("hardware", [5, "H100", {"gpus": 5}, {"colour": "red"}])
def test_hardware_that_is_none_is_refused(talk: Talk, one: Made, hardware: object) -> None:
    talk.push(one)
    with pytest.raises(DsopsError, match="hardware"):
        talk("activate", release=one.id, **WHO, hardware=hardware)


def test_a_restart_afresh_stops_the_slot_lets_the_kernel_forget_and_starts_it(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    talk.bring(one.id)
    bed.systemd.asked.clear()
    said = talk("restart", unit="slot", afresh=True, **WHO)
    assert said["cached"] is None or 0.0 <= said["cached"] <= 1.0
    assert bed.systemd.asked[:3] == [
        "stop triton@a.service",
        "reset-failed triton@a.service",
        "restart triton@a.service",
    ]
    assert "triton@a.service" in bed.systemd.enabled
    assert "cached" not in talk("restart", unit="slot", **WHO)
