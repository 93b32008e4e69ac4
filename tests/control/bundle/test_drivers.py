"""Driver sets in the bundle: the pinned version and no newer one, from the right part of the archive, modules once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.catalog.locksets import get_lockset
from dsops.control.bundle import drivers
from dsops.control.bundle.debs import AptCache, AptKey, build_repository, ensure_apt_key
from dsops.control.bundle.drivers import (
    Wanted,
    build_set,
    check_built,
    choose_sources,
    fetch_source,
    get_built,
    list_packages,
    read_dkms,
)
from dsops.core.drivers.lockset import Kernel, Lockset, Source, parse_carried
from dsops.core.errors import DsopsError

from tests.control.bundle.test_debs import make_deb, tools

DEBIAN = get_lockset("debian12-535.309.01")
NVIDIA = get_lockset("ubuntu2404-570.133.20-open")
SMALL = replace(
    DEBIAN,
    name="small",
    source=Source.BUNDLE,
    kernel=Kernel("1-amd64", "linux-image-1", "1.0"),
    modules=("nvidia",),
    packages=("libcuda1=535.1-1",),
    build=("nvidia-source=535.1-1",),
    persistenced="",
)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> AptKey:
    return ensure_apt_key(tmp_path_factory.mktemp("k") / "g")


@pytest.fixture
def mirror(tmp_path: Path, key: AptKey) -> str:
    """An archive that has gone on: the pinned version, and a newer one."""
    debs = [
        make_deb(tmp_path / version, name=name, version=version)
        for name, version in (("libcuda1", "535.1-1"), ("libcuda1", "535.2-1"), ("linux-image-1", "1.0"))
    ]
    build_repository(debs, out=tmp_path / "mirror", key=key)
    return f"deb [signed-by={tmp_path}/mirror/keyring.gpg] copy:{tmp_path}/mirror ./"


def build(lockset: Lockset, mirror: str, tmp_path: Path, key: AptKey, *, base: tuple[str, ...] = ()) -> Path:
    """With modules that were built before."""
    said = f"{lockset.system} {lockset.kernel} {lockset.build} {lockset.modules}"
    kept = tmp_path / "cache/modules" / f"{lockset.name}-{drivers.sha256(said.encode()).hexdigest()[:12]}"
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "nvidia.ko").write_text("module")
    out = tmp_path / "out"
    build_set(lockset, Wanted(sources=(mirror,)), out=out, cache=tmp_path / "cache", key=key, base=base, own=())
    return out


@tools
def test_a_set_has_the_pinned_versions_though_newer_ones_are_there(mirror: str, tmp_path: Path, key: AptKey) -> None:
    out = build(SMALL, mirror, tmp_path, key)
    assert {path.name for path in (out / "repo").glob("*.deb")} == {
        "libcuda1_535.1-1_all.deb",
        "linux-image-1_1.0_all.deb",
    }
    carried = parse_carried((out / "set.json").read_text(), where="set.json")
    assert carried.lockset == SMALL
    assert list(carried.modules) == ["nvidia.ko"]
    assert (out / "modules/nvidia.ko").read_text() == "module"


@tools
def test_the_modules_source_that_needs_firmware_of_its_version_is_had_though_a_newer_one_is_there(
    tmp_path: Path, key: AptKey
) -> None:
    names = (("nvidia-firmware", "535.1-1"), ("nvidia-firmware", "535.2-1"), ("linux-image-1", "1.0"))
    debs = [make_deb(tmp_path / version, name=name, version=version) for name, version in names]
    needs = "nvidia-firmware (= 535.1-1)"
    debs.append(make_deb(tmp_path / "source", name="nvidia-source", version="535.1-1", needs=needs))
    build_repository(debs, out=tmp_path / "mirror", key=key)
    line = f"deb [signed-by={tmp_path}/mirror/keyring.gpg] copy:{tmp_path}/mirror ./"
    apt = AptCache(tmp_path / "apt", sources=[line])
    apt.update()
    (found,) = fetch_source(replace(SMALL, packages=("nvidia-firmware=535.1-1",)), apt)
    assert found.name == "nvidia-source_535.1-1_all.deb"


@tools
def test_what_every_server_has_from_the_base_is_not_carried_twice(mirror: str, tmp_path: Path, key: AptKey) -> None:
    out = build(SMALL, mirror, tmp_path, key, base=("linux-image-1_1.0_all.deb",))
    assert {path.name for path in (out / "repo").glob("*.deb")} == {"libcuda1_535.1-1_all.deb"}


@tools
def test_a_version_that_the_archive_offers_no_longer_is_named(mirror: str, tmp_path: Path, key: AptKey) -> None:
    with pytest.raises(DsopsError, match=r"535\.0-1"):
        build(replace(SMALL, packages=("libcuda1=535.0-1",)), mirror, tmp_path, key)


def test_debians_sets_come_from_its_non_free_part_and_others_need_a_source() -> None:
    own = ["deb [signed-by=/k.gpg] copy:/mirror bookworm main", "deb copy:/mirror bookworm-security main"]
    assert choose_sources(DEBIAN, (), own=own) == [
        "deb [signed-by=/k.gpg] copy:/mirror bookworm main contrib non-free non-free-firmware",
        "deb copy:/mirror bookworm-security main contrib non-free non-free-firmware",
    ]
    with pytest.raises(DsopsError, match="is from nvidia-repository") as caught:
        choose_sources(NVIDIA, (), own=own)
    assert "--driver-source" in caught.value.mend
    assert choose_sources(NVIDIA, ("deb copy:/cuda ./",), own=own) == [*own, "deb copy:/cuda ./"]


def test_a_set_for_another_system_than_this_machines_is_refused(tmp_path: Path, key: AptKey) -> None:
    other = replace(SMALL, system="ubuntu 22.04")
    with pytest.raises(DsopsError, match=r"small is for ubuntu 22\.04, this machine is"):
        build_set(other, Wanted(), out=tmp_path, cache=tmp_path, key=key, base=())


def test_where_the_servers_build_they_get_source_headers_and_compiler() -> None:
    assert "linux-headers-6.1.0-56-amd64=6.1.192-2" in list_packages(DEBIAN, is_dkms=True)
    assert "nvidia-kernel-dkms=535.309.01-0+deb12u1" in list_packages(DEBIAN, is_dkms=True)
    assert not [name for name in list_packages(DEBIAN, is_dkms=False) if "dkms" in name or "headers" in name]


def test_the_modules_source_is_read_and_two_of_them_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "usr/src/nvidia-current-535.309.01"
    folder.mkdir(parents=True)
    (folder / "dkms.conf").write_text('PACKAGE_NAME="nvidia-current"\nPACKAGE_VERSION="535.309.01"\nAUTOINSTALL=yes\n')
    assert read_dkms(tmp_path) == ("nvidia-current", "535.309.01")
    shutil.copytree(folder, folder.with_name("other"))
    with pytest.raises(DsopsError, match="2 module sources, one is needed"):
        read_dkms(tmp_path)


def test_a_module_that_was_not_made_is_named_with_what_was(tmp_path: Path) -> None:
    (tmp_path / "x86_64/module").mkdir(parents=True)
    (tmp_path / "x86_64/module/nvidia.ko").touch()
    assert get_built(tmp_path, "nvidia").name == "nvidia.ko"
    with pytest.raises(DsopsError, match=r"did not make nvidia-uvm\.ko, but nvidia\.ko"):
        get_built(tmp_path, "nvidia-uvm")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"version": "535.261.03"}, "has version 535.261.03, the set 535.309.01"),
        ({"vermagic": "6.1.0-55-amd64 SMP preempt"}, "has vermagic 6.1.0-55-amd64, the set 6.1.0-56-amd64"),
        ({"version": ""}, "has version none"),
    ],
)
def test_a_module_of_another_driver_or_kernel_is_refused(other: dict[str, str], words: str) -> None:
    said = {"version": "535.309.01\n", "vermagic": "6.1.0-56-amd64 SMP preempt mod_unload modversions\n"}
    check_built(DEBIAN, said.__getitem__)
    with pytest.raises(DsopsError, match=words):
        check_built(DEBIAN, (said | other).__getitem__)


def test_a_set_json_that_is_none_is_refused_in_words() -> None:
    for text in ("{", "[]", json.dumps({"lockset": {}}), json.dumps({"lockset": {}, "modules": []})):
        with pytest.raises(DsopsError, match=r"set\.json"):
            parse_carried(text, where="set.json")
