"""Packages: found by name and version, taken from the bundle alone, mended after a cut."""

from pathlib import Path

from roles.ops.packages import LISTS, IndexState, index, packages, read_packages, read_versions
from tests.roles.here import Here, write_program

PACKAGES = """Package: chrony
Architecture: amd64
Version: 4.3-2+deb12u3
Description: keeps time
 Version: not this one

Package: libc6
Source: glibc
Version: 2.36-9+deb12u14

"""


def serve(folder: Path, *, installed: dict[str, str], audit: str = "") -> Here:
    """A server with these packages; dpkg compares as it really does where it is installed."""
    cases = "\n".join(f"{name}) printf 'installed {version}' ;;" for name, version in installed.items())
    query = f'for last; do :; done\ncase "$last" in\n{cases}\n*) exit 1 ;;\nesac'
    write_program(folder, "dpkg-query", query)
    compare = '[ "$(printf "%s\\n%s\\n" "$2" "$4" | sort -V | tail -n 1)" = "$2" ]'
    write_program(folder, "dpkg", f"case $1 in --compare-versions) {compare} ;; --audit) printf '{audit}' ;; esac")
    return Here(path=str(folder))


def run(here: Here, **wanted: str) -> list[str]:
    """The commands that would be run."""
    with here._as_host():
        return [str(command) for command in packages._inner(wanted=wanted)]


def test_the_versions_of_a_repository_are_read() -> None:
    assert read_versions(PACKAGES) == {"chrony": "4.3-2+deb12u3", "libc6": "2.36-9+deb12u14"}


def test_the_roles_lists_name_packages_and_may_hold_comments() -> None:
    assert read_packages("base") == ["chrony", "python3", "python3-venv"]


def test_what_is_there_or_newer_is_left_alone(tmp_path: Path) -> None:
    assert run(serve(tmp_path, installed={"a": "1.0-2", "b": "2.0"}), a="1.0-1", b="2.0") == []


def test_what_is_missing_or_older_is_installed_and_nothing_else(tmp_path: Path) -> None:
    (command,) = run(serve(tmp_path, installed={"a": "1.0-1", "b": "2.0"}), a="1.0-2", b="2.0", c="1")
    assert "apt-get install -y -qq --no-install-recommends a c;" in command
    assert "APT_CONFIG=/etc/dsops/apt.conf" in command
    assert "NEEDRESTART_SUSPEND=1" in command


def test_a_dpkg_that_was_cut_is_mended_first(tmp_path: Path) -> None:
    mend, install = run(serve(tmp_path, installed={"a": "1"}, audit="half-configured"), a="1", b="1")
    assert "dpkg --configure -a" in mend
    assert "--fix-broken" in mend
    assert install.split(";")[0].endswith(" b")


def test_apt_writes_to_a_file_so_that_a_cut_connection_does_not_kill_it(tmp_path: Path) -> None:
    (command,) = run(serve(tmp_path, installed={}), a="1")
    assert "> /var/log/dsops-apt.log 2>&1 < /dev/null" in command


def test_apt_reads_a_repository_again_when_its_content_is_another() -> None:
    command = IndexState().command(repository="/var/lib/dsops/bundle/apt/base")
    read = f"{LISTS}/_var_lib_dsops_bundle_apt_base_._InRelease"
    assert command.startswith(f"cmp -s /var/lib/dsops/bundle/apt/base/InRelease {read} ")
    assert not Here().get_fact(IndexState, repository="/nowhere")
    with Here()._as_host():
        (update,) = index._inner(repository="/nowhere")
    assert update.endswith("apt-get update -qq")
