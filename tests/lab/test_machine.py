"""Each reason to refuse a machine, with its mend."""

from dataclasses import replace
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.lab.machine import (
    FEATURES,
    PACKAGES,
    PROGRAMS,
    Facts,
    _file_system,
    _system,
    check_machine,
    require,
)
from dsops.lab.mounts import Mount

GOOD = Facts(
    root=True,
    system="debian 12",
    programs=frozenset(PROGRAMS),
    features=frozenset(FEATURES),
    free_gb=100,
    file_system="ext4",
)


def only(facts: Facts) -> str:
    (problem,) = check_machine(facts)
    assert problem.mend
    return f"{problem.what} -> {problem.mend}"


def test_a_good_machine_has_no_problem() -> None:
    assert check_machine(GOOD) == []
    require([])


def test_without_root_it_says_so() -> None:
    assert "needs root" in only(replace(GOOD, root=False))


@pytest.mark.parametrize("system", ["ubuntu 24.04", "debian 13", ""])
def test_another_system_is_refused_by_its_name(system: str) -> None:
    assert f"this system is {system or 'unknown'}" in only(replace(GOOD, system=system))


@pytest.mark.parametrize(("program", "package"), PROGRAMS.items())
def test_a_missing_program_names_its_package(program: str, package: str) -> None:
    text = only(replace(GOOD, programs=GOOD.programs - {program}))
    assert f"not installed: {program}" in text
    assert f"apt-get install --no-install-recommends {package}" in text


@pytest.mark.parametrize("feature", FEATURES)
def test_a_missing_kernel_feature_is_named(feature: str) -> None:
    text = only(replace(GOOD, features=GOOD.features - {feature}))
    assert f"the kernel lacks: {feature}" in text
    assert f"modprobe -a {FEATURES[feature]}" in text


def test_too_little_disk_says_how_much_is_needed() -> None:
    assert (
        "2.5 GB are free under /x; the lab needs 8 GB" in check_machine(replace(GOOD, free_gb=2.5), place="/x")[0].what
    )


def test_a_lab_that_is_made_needs_no_more_disk() -> None:
    assert check_machine(replace(GOOD, free_gb=2.5, whole=True)) == []


def test_a_file_system_that_cannot_carry_overlays_is_refused() -> None:
    assert "lies on overlay" in only(replace(GOOD, file_system="overlay"))


def test_a_foreign_route_into_the_lab_is_refused() -> None:
    assert "10.99.0.0/16 on tun0" in only(replace(GOOD, conflict="10.99.0.0/16 on tun0"))


def test_all_problems_are_told_at_once() -> None:
    bad = Facts(root=False, system="arch", programs=frozenset(), features=frozenset(), free_gb=0, file_system="nfs")
    problems = check_machine(bad)
    assert len(problems) == 6
    with pytest.raises(DsopsError) as caught:
        require(problems)
    assert all(problem.what in str(caught.value) and problem.mend in str(caught.value) for problem in problems)


def test_the_packages_for_bin_demo_cover_every_program() -> None:
    assert set(PROGRAMS.values()) <= set(PACKAGES)


def test_the_system_is_read_from_os_release() -> None:
    assert _system('NAME="Debian"\nID=debian\nVERSION_ID="12"\n') == "debian 12"
    assert _system("") == ""


def test_the_nearest_mount_decides_the_file_system() -> None:
    mounts = [Mount(Path("/"), "overlay", "o", ""), Mount(Path("/var/lib"), "xfs", "d", "")]
    assert _file_system(mounts, Path("/var/lib/dsops-lab")) == "xfs"
    assert _file_system(mounts, Path("/srv")) == "overlay"
