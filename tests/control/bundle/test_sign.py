"""Signing keys: made once, good for one purpose, and mended when half made."""

import shutil
from pathlib import Path

import pytest
from dsops.control.bundle.sign import (
    LAB_NAMESPACE,
    RELEASE_NAMESPACES,
    SITE_NAMESPACE,
    ensure_signer,
    sign,
    verify,
)
from dsops.core.errors import DsopsError


def test_a_signer_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    first = ensure_signer(tmp_path / "signer", name="me", namespace=SITE_NAMESPACE)
    key, allowed = first.key.read_bytes(), (tmp_path / "signer/allowed_signers").read_text()
    assert ensure_signer(tmp_path / "signer", name="me", namespace=SITE_NAMESPACE) == first
    assert first.key.read_bytes() == key
    assert (tmp_path / "signer/allowed_signers").read_text() == allowed
    assert first.key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "signer").stat().st_mode & 0o777 == 0o700
    assert allowed.startswith('me namespaces="dsops-bundle@v1,dsops-release@v1" ssh-ed25519 AAAA')


def test_signers_that_somebody_added_stay(tmp_path: Path) -> None:
    ensure_signer(tmp_path, name="me", namespace=SITE_NAMESPACE)
    allowed = tmp_path / "allowed_signers"
    allowed.write_text("colleague ssh-ed25519 AAAAC3\n" + allowed.read_text())
    before = allowed.read_text()
    ensure_signer(tmp_path, name="me", namespace=SITE_NAMESPACE)
    assert allowed.read_text() == before


def test_a_lost_list_of_signers_is_written_again(tmp_path: Path) -> None:
    ensure_signer(tmp_path, name="me", namespace=SITE_NAMESPACE)
    allowed = tmp_path / "allowed_signers"
    before = allowed.read_text()
    allowed.unlink()
    ensure_signer(tmp_path, name="me", namespace=SITE_NAMESPACE)
    assert allowed.read_text() == before


@pytest.mark.parametrize("namespace", [SITE_NAMESPACE, LAB_NAMESPACE])
def test_a_list_from_before_releases_were_signed_is_mended(tmp_path: Path, namespace: str) -> None:
    signer = ensure_signer(tmp_path, name="me", namespace=namespace)
    now = signer.allowed_signers.read_text()
    theirs = "colleague ssh-ed25519 AAAAC3\n"
    signer.allowed_signers.write_text(theirs + now.replace(f",{RELEASE_NAMESPACES[namespace]}", ""))
    assert ensure_signer(tmp_path, name="me", namespace=namespace) == signer
    assert signer.allowed_signers.read_text() == theirs + now


@pytest.mark.parametrize(("mine", "other"), [(SITE_NAMESPACE, LAB_NAMESPACE), (LAB_NAMESPACE, SITE_NAMESPACE)])
def test_one_key_signs_bundles_and_releases_each_for_its_own_side(tmp_path: Path, mine: str, other: str) -> None:
    signer, file = ensure_signer(tmp_path / "signer", name="me", namespace=mine), tmp_path / "release.json"
    file.write_text("{}")
    sign(file, signer.for_releases)
    allowed = signer.allowed_signers
    assert verify(file, allowed_signers=allowed, namespace=RELEASE_NAMESPACES[mine]) == "me"
    for wrong in (mine, other, RELEASE_NAMESPACES[other]):
        with pytest.raises(DsopsError, match="may not sign for"):
            verify(file, allowed_signers=allowed, namespace=wrong)


def test_the_labs_key_never_becomes_a_sites_key(tmp_path: Path) -> None:
    ensure_signer(tmp_path, name="dsops-lab", namespace=LAB_NAMESPACE)
    with pytest.raises(DsopsError, match="this key is not for"):
        ensure_signer(tmp_path, name="dsops-release", namespace=SITE_NAMESPACE)


def test_a_lost_public_half_is_written_again(tmp_path: Path) -> None:
    signer = ensure_signer(tmp_path, name="me", namespace=SITE_NAMESPACE)
    public = signer.key.with_suffix(".pub")
    before = public.read_text().split()[:2]
    public.unlink()
    ensure_signer(tmp_path, name="me", namespace=SITE_NAMESPACE)
    assert public.read_text().split()[:2] == before


def test_a_public_half_alone_is_not_overwritten(tmp_path: Path) -> None:
    signer = ensure_signer(tmp_path, name="me", namespace=SITE_NAMESPACE)
    signer.key.unlink()
    with pytest.raises(DsopsError, match="public key without its private key"):
        ensure_signer(tmp_path, name="me", namespace=SITE_NAMESPACE)


def test_a_signature_is_replaced_and_says_who(tmp_path: Path) -> None:
    signer = ensure_signer(tmp_path / "signer", name="me", namespace=SITE_NAMESPACE)
    file, allowed = tmp_path / "a file", tmp_path / "signer/allowed_signers"
    for text in ("one", "two"):
        file.write_text(text)
        assert sign(file, signer) == tmp_path / "a file.sig"
        assert verify(file, allowed_signers=allowed, namespace=SITE_NAMESPACE) == "me"


def test_the_refusals_say_what_to_do(tmp_path: Path) -> None:
    signer = ensure_signer(tmp_path / "signer", name="me", namespace=SITE_NAMESPACE)
    allowed, file = tmp_path / "signer/allowed_signers", tmp_path / "file"
    file.write_text("x")
    with pytest.raises(DsopsError, match="there is no signature"):
        verify(file, allowed_signers=allowed, namespace=SITE_NAMESPACE)
    sign(file, signer)
    with pytest.raises(DsopsError, match="no list of allowed signers"):
        verify(file, allowed_signers=tmp_path / "none", namespace=SITE_NAMESPACE)
    with pytest.raises(DsopsError, match="may not sign for dsops-bundle-lab@v1") as caught:
        verify(file, allowed_signers=allowed, namespace=LAB_NAMESPACE)
    assert str(allowed) in caught.value.mend
    shutil.copy(tmp_path / "signer/bundle_ed25519.pub", tmp_path / "other")
    with pytest.raises(DsopsError, match="signed by nobody whom this site allows"):
        verify(file, allowed_signers=tmp_path / "other", namespace=SITE_NAMESPACE)
