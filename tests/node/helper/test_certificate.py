"""The gate over the helper's real socket: no release begins on a node that was not accepted, unless it is forced."""

import errno
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from dsops.core.accept.certificate import DAY, Certificate, Demand, certify
from dsops.core.accept.measured import Lack, Measurement
from dsops.core.errors import DsopsError
from dsops.node.helper import disk_rate
from dsops.node.helper.peers import Peer

from tests.core.accept.nodes import RULES, lose, make, spoil
from tests.node.helper.conftest import Talk, serving
from tests.node.store.bed import MACHINE, Bed, FailingDisk, Made, Signer, make_signer

WHO = {"who": "kim", "reason": "new"}
UUIDS = ["GPU-a-0", "GPU-a-1"]
AT = 1_700_000_000.0


def paper(signer: Signer, measured: Measurement | None = None, *, forced: str = "", at: float = AT) -> dict[str, str]:
    """A certificate as it is brought."""
    one = certify(measured or make(), RULES, node="gpu1", who="kim", made_at=at, forced=forced)
    return sign(signer, one)


def sign(signer: Signer, one: Certificate) -> dict[str, str]:
    content = one.render()
    return {"text": content.decode(), "signature": signer.sign_bytes(content).decode()}


@pytest.fixture
def strict(bed: Bed, one: Made) -> Iterator[Talk]:
    """A site that demands certificates, and a node that holds a release."""
    bed.settings["certificate"] = Demand.REQUIRED
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        talk.push(one)
        yield talk


def activate(talk: Talk, made: Made, gpus: list[str] | None = UUIDS, **words: Any) -> dict[str, Any]:
    words |= {} if gpus is None else {"gpus": gpus}
    return talk("activate", release=made.id, **WHO, **words)


def refused(talk: Talk, made: Made, *, says: str, **words: Any) -> DsopsError:
    with pytest.raises(DsopsError, match=says) as caught:
        activate(talk, made, **words)
    assert caught.value.mend
    return caught.value


def test_where_none_is_demanded_a_release_comes_in_without(talk: Talk, one: Made) -> None:
    talk.push(one)
    assert activate(talk, one, None)["state"]["move"]
    assert talk("list")["certificate"] == {"demanded": False, "lack": "", "made_at": None}


def test_where_one_is_demanded_none_comes_in_before_and_nothing_starts(strict: Talk, bed: Bed, one: Made) -> None:
    before = bed.desk().moves.read()
    error = refused(strict, one, says="this node may not serve yet: it has no certificate")
    assert "`dsops accept NODE` makes one" in error.mend
    assert "--uncertified --reason" in error.mend
    assert error.where == "certificate"
    assert bed.systemd.asked == []
    assert bed.desk().moves.read() == before
    assert strict("list")["certificate"] == {"demanded": True, "lack": "it has no certificate", "made_at": None}


def test_a_canary_is_traffic_too(strict: Talk, one: Made, two: Made) -> None:
    strict.bring(one.id, uncertified=True)
    strict.push(two)
    refused(strict, two, says="it has no certificate", share=1)


def test_with_a_good_one_it_comes_in(strict: Talk, bed: Bed, signer: Signer, one: Made) -> None:
    said = strict("certify", **paper(signer), **WHO)
    assert (said["verdict"], said["forced"]) == ("pass", "")
    assert strict("list")["certificate"] == {"demanded": True, "lack": "", "made_at": AT}
    assert activate(strict, one)["state"]["move"]["step"] == "prove"
    assert (bed.root / "state/certificate.json").stat().st_mode & 0o777 == 0o444
    assert list((bed.root / "staging").iterdir()) == []


def test_a_person_may_let_it_in_all_the_same_and_that_is_audited(strict: Talk, bed: Bed, one: Made) -> None:
    activate(strict, one, None, uncertified=True)
    assert bed.said[-1] == f"dsops: activate {one.id} without a certificate by kim: new"


def test_going_back_and_restarting_ask_for_no_certificate(strict: Talk, one: Made, two: Made) -> None:
    strict.push(two)
    strict.bring(one.id, uncertified=True)
    strict.bring(two.id, uncertified=True)
    assert strict("rollback", **WHO)["state"]["active"]["release"] == one.id
    strict("restart", unit="slot", **WHO)


@pytest.mark.parametrize(
    ("gpus", "says"),
    [
        (None, "nobody can say which GPUs this node has now"),
        (["GPU-a-0", "GPU-new"], "GPU-new is new here, GPU-a-1 is gone"),
        (["GPU-a-0"], "GPU-a-1 is gone"),
        ([], "GPU-a-0 is gone, GPU-a-1 is gone"),
        (5, "gpus should be a list"),
    ],
)
def test_it_counts_only_for_the_gpus_that_were_measured(
    strict: Talk, signer: Signer, one: Made, gpus: Any, says: str
) -> None:
    strict("certify", **paper(signer), **WHO)
    with pytest.raises(DsopsError, match=says):
        activate(strict, one, gpus)
    assert activate(strict, one, UUIDS[::-1])["state"]["move"]


def test_one_that_failed_keeps_releases_out_and_a_forced_one_lets_them_in(
    strict: Talk, signer: Signer, one: Made
) -> None:
    bad = spoil("memory")(make())
    strict("certify", **paper(signer), **WHO)
    strict("certify", **paper(signer, bad, at=AT + 1), **WHO)
    refused(strict, one, says="the certificate of this node says fail: memory keeps what is written")
    assert "says fail" in strict("list")["certificate"]["lack"]
    said = strict("certify", **paper(signer, bad, at=AT + 2, forced="the spare comes on Monday"), **WHO)
    assert said["forced"] == "the spare comes on Monday"
    assert activate(strict, one)["state"]["move"]


def test_an_incomplete_one_keeps_releases_out(strict: Talk, signer: Signer, one: Made) -> None:
    strict("certify", **paper(signer, lose("memory", Lack.UNDONE)(make())), **WHO)
    refused(strict, one, says="says incomplete")


def test_one_that_is_too_old_for_its_site_does_not_count(bed: Bed, signer: Signer, one: Made) -> None:
    bed.settings |= {"certificate": Demand.REQUIRED, "certificate_days": 30}
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        talk.push(one)
        talk("certify", **paper(signer, at=bed.at - 31 * DAY), **WHO)
        refused(talk, one, says="31 days old, and this site says 30 at most")
        talk("certify", **paper(signer, at=bed.at - 29 * DAY), **WHO)
        assert activate(talk, one)["state"]["move"]


def spoil_text(pair: dict[str, str]) -> dict[str, str]:
    return pair | {"text": pair["text"].replace("2946.0", "2947.0")}


@pytest.mark.parametrize(
    ("bring", "says"),
    [
        (lambda signer, folder: spoil_text(paper(signer)), "the signature does not fit the certificate"),
        (lambda signer, folder: paper(signer) | {"signature": "x"}, "signed by nobody whom this site allows"),
        (lambda signer, folder: paper(make_signer(folder, name="foreign")), "signed by nobody whom this site"),
        (lambda signer, folder: paper(signer) | {"signature": ""}, "signature is missing or empty"),
        (lambda signer, folder: paper(replace(signer, namespace="dsops-bundle-lab@v1")), "may not sign for"),
        (lambda signer, folder: paper(signer, make(machine="f" * 32)), "not of this machine"),
        (
            lambda signer, folder: {"text": "{}", "signature": signer.sign_bytes(b"{}").decode()},
            "is no certificate of a node",
        ),
        (lambda signer, folder: paper(signer, at=AT - 1), "a newer certificate lies here"),
    ],
)
def test_one_that_is_not_good_is_refused_and_the_last_one_stays(
    strict: Talk,
    bed: Bed,
    signer: Signer,
    one: Made,
    tmp_path_factory: pytest.TempPathFactory,
    bring: Callable[[Signer, Any], dict[str, str]],
    says: str,
) -> None:
    strict("certify", **paper(signer), **WHO)
    held = (bed.root / "state/certificate.json").read_bytes()
    with pytest.raises(DsopsError, match=says) as caught:
        strict("certify", **bring(signer, tmp_path_factory.mktemp("foreign")), **WHO)
    assert caught.value.mend
    assert (bed.root / "state/certificate.json").read_bytes() == held
    assert activate(strict, one)["state"]["move"]


def test_the_agent_may_bring_none_and_whoever_does_says_why(strict: Talk, signer: Signer) -> None:
    with pytest.raises(DsopsError, match="reason is missing"):
        strict("certify", **paper(signer), who="kim")
    strict.peer = Peer.AGENT
    with pytest.raises(DsopsError, match="may not ask for certify"):
        strict("certify", **paper(signer), **WHO)


@pytest.mark.parametrize("spoilt", ["", "{", '{"text": 5, "signature": "x"}', "[]", '{"text": "{}"}'])
def test_one_that_was_spoilt_in_place_counts_as_none_and_a_new_one_mends_it(
    strict: Talk, bed: Bed, signer: Signer, one: Made, spoilt: str
) -> None:
    (bed.root / "state/certificate.json").write_text(spoilt)
    refused(strict, one, says="its certificate is spoilt")
    strict("certify", **paper(signer), **WHO)
    assert activate(strict, one)["state"]["move"]


def test_one_that_was_altered_in_place_is_refused(strict: Talk, bed: Bed, signer: Signer, one: Made) -> None:
    strict("certify", **paper(signer, spoil("memory")(make())), **WHO)
    path = bed.root / "state/certificate.json"
    held = json.loads(path.read_text())
    good = paper(signer)
    path.unlink()
    path.write_text(json.dumps({"text": good["text"], "signature": held["signature"]}))
    refused(strict, one, says="the signature does not fit the certificate")


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_disk_that_refuses_leaves_the_last_one(bed: Bed, signer: Signer, nth: int) -> None:
    bed.desk().moves.begin()
    with serving(bed.desk(), bed.root / "sock") as talk:
        talk("certify", **paper(signer), **WHO)
    held = (bed.root / "state/certificate.json").read_bytes()
    bed.disk = FailingDisk(nth, code=errno.ENOSPC, only=["write", "chmod", "fsync", "rename"])
    desk = bed.desk()
    with serving(desk, bed.root / "sock") as talk:
        with pytest.raises(DsopsError, match="the disk is full"):
            talk("certify", **paper(signer, at=AT + 1), **WHO)
        assert (bed.root / "state/certificate.json").read_bytes() == held
        talk("certify", **paper(signer, at=AT + 2), **WHO)
    assert (bed.root / "state/certificate.json").read_bytes() != held


def test_what_a_kill_left_of_measuring_the_disk_goes_at_the_next_start(bed: Bed) -> None:
    (bed.root / "staging/accept-0123").write_bytes(b"x" * 100)
    desk = bed.desk()
    desk.releases.clean_staging(at=desk.now())
    assert list((bed.root / "staging").iterdir()) == []


def test_a_machine_that_cannot_say_which_it_is_takes_none(strict: Talk, bed: Bed, signer: Signer) -> None:
    (bed.root / "machine-id").unlink()
    with pytest.raises(DsopsError, match="not of this machine"):
        strict("certify", **paper(signer), **WHO)
    assert MACHINE in paper(signer)["text"]


def test_the_disk_is_read_past_the_page_cache_and_nothing_stays(talk: Talk, bed: Bed) -> None:
    said = talk("read_disk", mib=8)
    assert said["bytes"] == 8 << 20
    assert said["seconds"] > 0
    assert type(said["direct"]) is bool
    assert list((bed.root / "staging").iterdir()) == []


@pytest.mark.parametrize("mib", [0, 7, 8193, -1, "8"])
def test_a_size_that_means_nothing_is_refused(talk: Talk, mib: Any) -> None:
    with pytest.raises(DsopsError, match="mib"):
        talk("read_disk", mib=mib)


def test_a_disk_without_room_is_not_filled(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_rate, "BESIDE", 1e9)
    with pytest.raises(DsopsError, match="GB free, and reading it is measured with") as caught:
        talk("read_disk", mib=8)
    assert "accept_storage_mib" in caught.value.mend


def test_two_do_not_measure_one_disk_at_once(talk: Talk) -> None:
    with disk_rate._ONE, pytest.raises(DsopsError, match="being measured already"):
        talk("read_disk", mib=8)
    assert talk("read_disk", mib=8)["bytes"]
