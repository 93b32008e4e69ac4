"""The bundle: whole, signed by somebody allowed, of this dsops, and for which system."""

import json
from pathlib import Path
from typing import Any

import pytest
from dsops import __version__
from dsops.control.bundle.sign import SITE_NAMESPACE, Signer, ensure_signer, sign
from dsops.control.bundle.verify import SUMS, read_sums
from dsops.control.doctor.bundle import add_sizes, check_bundle, find_system, read_facts, read_size
from dsops.control.doctor.finding import Finding, Status
from dsops.control.doctor.site import Site
from dsops.core.errors import DsopsError

from tests.control.doctor.sites import make_server, make_site

SYSTEMS = {"2.36": "debian 12", "2.39": "ubuntu 24.04"}
PACKAGES = "Package: libc-bin\nVersion: 2.39-1\n\nPackage: libc6\nArchitecture: amd64\nVersion: 2.36-9+deb12u14\n\n"


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return ensure_signer(tmp_path / "signer", name="us", namespace=SITE_NAMESPACE)


def build(tmp_path: Path, signer: Signer, **about: Any) -> Path:
    path = tmp_path / "bundle"
    (path / "apt/base").mkdir(parents=True)
    (path / "apt/base/Packages").write_text(PACKAGES)
    (path / "bundle.json").write_text(json.dumps({"format": 1, "dsops": __version__, "release": "r1", **about}))
    (path / "releases/r1").mkdir(parents=True)
    (path / "releases/r1/release.json").write_text("{}")
    sign(path / "releases/r1/release.json", signer.for_releases)
    (path / SUMS).write_text(read_sums(path).render())
    sign(path / SUMS, signer)
    return path


def site(path: Path, signer: Signer, **data: Any) -> Site:
    signers = signer.key.parent / "allowed_signers"
    return make_site(make_server(bundle_path=str(path), bundle_allowed_signers=str(signers), **data))


def look(site: Site) -> Finding:
    (found,) = check_bundle(site, tick=lambda _: None)
    return found


def test_a_whole_one_is_ok_and_says_what_it_carries(tmp_path: Path, signer: Signer) -> None:
    path = build(tmp_path, signer)
    read: list[int] = []
    (found,) = check_bundle(site(path, signer), tick=read.append)
    assert (found.status, found.what) == (Status.OK, "4 files as signed by us; release r1, for debian 12")
    assert sum(read) == read_size(path)


def test_a_changed_an_extra_and_a_missing_file_are_said_at_once(tmp_path: Path, signer: Signer) -> None:
    path = build(tmp_path, signer)
    (path / "extra").touch()
    (path / "apt/base/Packages").unlink()
    (path / "bundle.json").write_text("{}")
    found = look(site(path, signer))
    assert found.status is Status.PROBLEM
    assert all(word in found.what for word in ("extra: extra", "missing: apt/base/Packages", "changed: bundle.json"))


def test_another_signer_another_namespace_and_no_bundle_are_said(tmp_path: Path, signer: Signer) -> None:
    path = build(tmp_path, signer)
    other = ensure_signer(tmp_path / "other", name="them", namespace=SITE_NAMESPACE)
    assert "signed by nobody whom this site allows" in look(site(path, other)).what
    assert look(site(path, signer, bundle_namespace="dsops-bundle-lab@v1")).status is Status.PROBLEM
    assert "not a bundle" in look(site(tmp_path / "none", signer)).what


def test_a_list_of_signers_from_before_releases_were_signed_is_said_with_its_mend(
    tmp_path: Path, signer: Signer
) -> None:
    path = build(tmp_path, signer)
    allowed = signer.allowed_signers
    allowed.write_text(allowed.read_text().replace(",dsops-release@v1", ""))
    whole, release = check_bundle(site(path, signer), tick=lambda _: None)
    assert (whole.status, release.status) == (Status.OK, Status.PROBLEM)
    assert "may not sign for dsops-release@v1" in release.what
    assert 'namespaces="dsops-bundle@v1,dsops-release@v1"' in release.mend


def test_one_of_another_dsops_or_without_a_release_is_said(tmp_path: Path, signer: Signer) -> None:
    assert "carries dsops 9.9" in look(site(build(tmp_path / "a", signer, dsops="9.9"), signer)).what
    assert look(site(build(tmp_path / "b", signer, release=""), signer)).what == "carries no release"
    assert "another format" in look(site(build(tmp_path / "c", signer, format=2), signer)).what


def test_the_system_is_told_by_the_c_library() -> None:
    assert find_system(PACKAGES, systems=SYSTEMS) == "debian 12"
    assert find_system("Package: bash\nVersion: 5\n", systems=SYSTEMS) == ""


def test_sizes_are_of_folders_of_one_and_two_names() -> None:
    sizes = add_sizes([("a/b/c", 1), ("a/b/d/e", 2), ("a/f", 4), ("g", 8)])
    assert sizes == {"a": 7, "a/b": 3}


def test_what_is_none_cannot_be_read(tmp_path: Path) -> None:
    assert read_size(tmp_path) == 0
    with pytest.raises(DsopsError, match="cannot be read as a bundle"):
        read_facts(tmp_path, systems=SYSTEMS)
