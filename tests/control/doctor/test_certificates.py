"""Certificates: in time, of their key, with their names, vouched for by the CA."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from dsops.control.doctor.certificates import Wanted, check_certificate, check_certificates, find_wanted, has_name
from dsops.control.doctor.finding import Status
from dsops.control.secrets import ensure_authority, ensure_leaf

from tests.control.doctor.sites import make_server, make_site

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def pair(tmp_path: Path) -> Wanted:
    ca = ensure_authority(tmp_path / "ca.pem", name="test")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    ensure_leaf(ca, cert=cert, key=key, names=["lb1", "192.0.2.10", "*.site.example"])
    return Wanted(cert, key, ca.cert, ("192.0.2.10",))


def said(wanted: Wanted, **days: float) -> list[str]:
    found = check_certificate(wanted, now=NOW + dt.timedelta(**days))
    return [f.what for f in found if f.status is Status.PROBLEM]


def change(wanted: Wanted, **changes: Any) -> Wanted:
    return Wanted(**{**wanted.__dict__, **changes})


def test_a_good_one_is_ok(pair: Wanted) -> None:
    (found,) = check_certificate(pair, now=NOW + dt.timedelta(hours=1))
    assert (found.status, found.what) == (Status.OK, "397 days left, of its key, with its names, vouched for")


def test_time_is_judged(pair: Wanted) -> None:
    assert said(pair, days=399)[0].startswith("expired on ")
    assert "in 9 days" in said(pair, days=388, hours=1)[0]
    assert said(pair, days=-3)[0].startswith("is good from ")


def test_a_key_of_another_certificate_is_said(pair: Wanted, tmp_path: Path) -> None:
    other = ensure_authority(tmp_path / "other/ca.pem", name="test").key
    assert said(change(pair, key=other)) == [f"is not the certificate of the key {other}"]


def test_a_name_that_is_not_in_it_is_said_with_those_that_are(pair: Wanted) -> None:
    assert said(change(pair, names=("10.0.0.1",))) == [
        "is not for 10.0.0.1 (it is for lb1, *.site.example, 192.0.2.10)"
    ]
    assert said(change(pair, names=(), any_of=("mon1", "10.0.0.1")))[0].startswith("is not for mon1 or 10.0.0.1")
    assert said(change(pair, names=(), any_of=("mon1", "lb1"))) == []


def test_another_ca_is_said(pair: Wanted, tmp_path: Path) -> None:
    other = ensure_authority(tmp_path / "other/ca.pem", name="test").cert
    assert said(change(pair, ca=other)) == [f"no chain leads from it to the CA in {other}"]


def test_an_old_ca_is_said(pair: Wanted) -> None:
    assert any("the CA in" in what for what in said(pair, days=3651))


def test_all_is_said_at_once(pair: Wanted, tmp_path: Path) -> None:
    other = ensure_authority(tmp_path / "other/ca.pem", name="test")
    assert len(said(change(pair, key=other.key, ca=other.cert, names=("x",)), days=399)) == 4


def test_rubbish_is_said(pair: Wanted, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("x")
    assert said(change(pair, cert=bad)) == ["holds no PEM certificate"]
    assert said(change(pair, key=bad)) == ["holds no private key that can be used"]
    assert said(change(pair, ca=bad)) == [f"{bad} holds no PEM certificate"]


def test_a_missing_one_is_left_to_the_files_check(pair: Wanted) -> None:
    assert check_certificate(change(pair, cert=Path("/nonexistent")), now=NOW) == []


def test_names_are_compared_as_clients_do() -> None:
    held = ["*.site.example", "2001:db8::1"]
    assert has_name(held, "API.site.example")
    assert has_name(held, "2001:db8:0::1")
    assert not has_name(held, "a.b.site.example")
    assert not has_name(held, "site.example")


def test_the_names_are_those_that_others_ask_for(tmp_path: Path) -> None:
    files = {
        f"{role}_tls_{kind}_file": f"{role}-{kind}" for role in ("nginx", "monitoring") for kind in ("cert", "key")
    }
    lb = make_server("lb1", "lb", **files, dsops_endpoint="https://api.site.example:8443")
    mon, gpu = make_server("mon1", "mon", **files), make_server(**files)
    wanted = find_wanted(make_site(lb, mon, gpu))
    assert [(w.cert.name, w.names, w.any_of) for w in wanted] == [
        ("nginx-cert", ("api.site.example",), ()),
        ("monitoring-cert", ("localhost",), ("mon1", "192.0.2.4")),
    ]
    lb = make_server("lb1", "lb", **files, dsops_endpoint="https://10.0.0.1", dsops_server_name="api")
    assert find_wanted(make_site(lb))[0].names == ("api",)
    assert find_wanted(make_site(make_server("lb1", "lb", **files)))[0].any_of == ("lb1", "192.0.2.3")
    assert check_certificates(make_site(lb), now=NOW) == []
