"""Systems: told apart by their os-release, bundles by what is in them."""

import pytest
from dsops.core.errors import DsopsError

from roles.ops.systems import check_bundle, find_python_of, find_system_of, get_system, read_systems
from tests.roles.bundle import LIBC


@pytest.mark.parametrize(("name", "libc"), LIBC.items())
def test_a_bundles_packages_tell_their_system(name: str, libc: str) -> None:
    packages = f"Package: libc-bin\nVersion: 1\n\nPackage: libc6\nArchitecture: amd64\nVersion: {libc}\nPriority: x\n\n"
    found = find_system_of(packages)
    assert found
    assert found.name == name


def test_packages_without_a_known_libc_are_of_no_system() -> None:
    assert find_system_of("Package: libc6\nVersion: 2.41-12\n\n") is None
    assert find_system_of("") is None


def test_every_system_has_a_python_that_dsops_runs_on() -> None:
    assert all(tuple(map(int, system.python_version.split("."))) >= (3, 11) for system in read_systems())


def test_only_compiled_wheels_ask_for_a_version_of_python() -> None:
    wheels = ["anyio-4.16.0-py3-none-any.whl", "cryptography-50.0.2-cp311-abi3-manylinux_2_34_x86_64.whl"]
    assert find_python_of(wheels) is None
    assert find_python_of([*wheels, "grpcio-1.85.1-cp312-cp312-manylinux_2_17_x86_64.whl"]) == "3.12"


def test_an_unknown_system_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(DsopsError, match=r"gpu1: fedora 41 is not supported") as caught:
        get_system({"ID": "fedora", "VERSION_ID": "41"}, where="gpu1")
    assert "debian 12, ubuntu 22.04, ubuntu 24.04" in caught.value.mend
    with pytest.raises(DsopsError, match="unknown"):
        get_system({}, where="gpu1")


def test_a_bundle_that_fits_passes() -> None:
    system = get_system({"ID": "debian", "VERSION_ID": "12"}, where="x")
    packages = f"Package: libc6\nVersion: {LIBC['debian 12']}\n\n"
    check_bundle(system, packages=packages, wheels=["a-1-cp311-cp311-linux_x86_64.whl"], where="x")
