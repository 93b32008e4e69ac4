"""A bundle is made for the system that it is built on."""

from pathlib import Path

import pytest
from dsops.control.bundle.debs import read_packages
from dsops.control.bundle.target import get_target
from dsops.core.errors import DsopsError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("system", "python", "base", "library"),
    [
        ("debian 12", "3.11", "python3", "libpython3.11"),
        ("ubuntu 22.04", "3.11", "python3.11", "libpython3.11"),
        ("ubuntu 24.04", "3.12", "python3", "libpython3.12t64"),
    ],
)
def test_packages_and_python_are_those_of_the_system(system: str, python: str, base: str, library: str) -> None:
    target = get_target(ROOT, system)
    assert target.python_version == python
    assert base in target.get_packages(read_packages(ROOT / "roles/base/packages.txt"))
    assert target.get_packages(read_packages(ROOT / "roles/engine/packages.txt")) == [library]


def test_an_unknown_system_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(DsopsError) as caught:
        get_target(ROOT, "fedora 44")
    assert caught.value.what == "no bundle can be made on fedora 44"
    assert "debian 12, ubuntu 22.04, ubuntu 24.04" in caught.value.mend
