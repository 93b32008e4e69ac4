"""Debian packages: what apt plans is what is carried, and apt itself accepts the repository that is made of them."""

import shutil
import subprocess
from pathlib import Path

import pytest
from dsops.control.bundle.debs import (
    AptCache,
    AptKey,
    build_repository,
    ensure_apt_key,
    ensure_repository,
    read_packages,
    render_file_names,
)
from dsops.control.run import run
from dsops.core.errors import DsopsError

SIMULATION = """\
NOTE: This is only a simulation!
Inst gcc-12-base (12.2.0-14+deb12u1 Debian:12.12/oldstable [amd64]) []
Inst libc6 (2.36-9+deb12u13 Debian:12.12/oldstable, Debian-Security:12/oldstable-security [amd64]) [libgcc-s1:amd64 ]
Inst tzdata (2025b-0+deb12u2 Debian:12.12/oldstable [all])
Inst perl-base [5.36.0-7] (5.36.0-7+deb12u3 Debian:12.12/oldstable [amd64])
Inst login (1:4.13+dfsg1-1+deb12u1 Debian:12.12/oldstable [amd64])
Inst libc6:i386 (2.36-9+deb12u13 Debian:12.12/oldstable [i386])
Conf login (1:4.13+dfsg1-1+deb12u1 Debian:12.12/oldstable [amd64])
"""
tools = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "apt-ftparchive", "gpg", "dpkg-deb"))),
    reason="apt-get, apt-ftparchive (apt-utils), gpg (gnupg) or dpkg-deb is not installed",
)


def test_the_file_names_are_those_that_apt_gives_its_archives() -> None:
    assert render_file_names(SIMULATION) == [
        "gcc-12-base_12.2.0-14+deb12u1_amd64.deb",
        "libc6_2.36-9+deb12u13_amd64.deb",
        "tzdata_2025b-0+deb12u2_all.deb",
        "perl-base_5.36.0-7+deb12u3_amd64.deb",
        "login_1%3a4.13+dfsg1-1+deb12u1_amd64.deb",
        "libc6_2.36-9+deb12u13_i386.deb",
    ]


def test_a_planned_package_that_is_not_understood_is_an_error_and_not_a_gap() -> None:
    with pytest.raises(DsopsError, match="Inst something else"):
        render_file_names(SIMULATION + "Inst something else\n")


def test_a_list_of_packages_may_have_remarks(tmp_path: Path) -> None:
    (tmp_path / "packages.txt").write_text("# what\nnginx\n\n  chrony # time\n")
    assert read_packages(tmp_path / "packages.txt") == ["nginx", "chrony"]


def make_deb(
    folder: Path, *, name: str = "dsops-test", version: str = "1:2.0+x~1", text: str = "hello", needs: str = ""
) -> Path:
    root = folder / f"{name}.root"
    (root / "DEBIAN").mkdir(parents=True, exist_ok=True)
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@mirror.example>\nDescription: x\n"
        + (f"Depends: {needs}\n" if needs else "")
    )
    (root / "hello").write_text(text)
    deb = folder / f"{name}_{version.replace(':', '%3a')}_all.deb"
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(root), str(deb)]
    subprocess.run(argv, check=True, capture_output=True)
    return deb


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> AptKey:
    return ensure_apt_key(tmp_path_factory.mktemp("k") / "g")


def consume(repository: Path, folder: Path, *packages: str) -> list[Path]:
    """What a server does: real apt in a private root, which trusts only the repository's own key."""
    source = f"deb [signed-by={repository}/keyring.gpg] copy:{repository} ./"
    apt = AptCache(folder, sources=[source])
    apt.update()
    return apt.fetch(list(packages))


@tools
def test_real_apt_takes_packages_from_the_signed_repository(key: AptKey, tmp_path: Path) -> None:
    deb = make_deb(tmp_path)
    build_repository([deb], out=tmp_path / "repository", key=key)
    fetched = consume(tmp_path / "repository", tmp_path / "apt", "dsops-test")
    assert [file.name for file in fetched] == [deb.name]
    assert fetched[0].read_bytes() == deb.read_bytes()


@tools
def test_the_repository_never_expires_and_its_names_are_safe_to_carry(key: AptKey, tmp_path: Path) -> None:
    build_repository([make_deb(tmp_path)], out=tmp_path / "repository", key=key)
    assert "Valid-Until" not in (tmp_path / "repository/Release").read_text()
    names = {file.name for file in (tmp_path / "repository").iterdir()}
    assert names == {"InRelease", "Packages", "Release", "dsops-test_1_2.0+x~1_all.deb", "keyring.gpg"}


@tools
def test_real_apt_refuses_a_changed_package_and_a_changed_list(key: AptKey, tmp_path: Path) -> None:
    build_repository([make_deb(tmp_path)], out=tmp_path / "one", key=key)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    deb = tmp_path / "one/dsops-test_1_2.0+x~1_all.deb"
    deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    with pytest.raises(DsopsError, match="dsops-test"):
        consume(tmp_path / "one", tmp_path / "apt1", "dsops-test")
    with (tmp_path / "two/Packages").open("a") as stream:
        stream.write("\n")
    with pytest.raises(DsopsError):
        consume(tmp_path / "two", tmp_path / "apt2", "dsops-test")


@tools
def test_real_apt_refuses_another_key(key: AptKey, tmp_path: Path) -> None:
    build_repository([make_deb(tmp_path)], out=tmp_path / "repository", key=key)
    other = ensure_apt_key(tmp_path / "g")
    build_repository([make_deb(tmp_path)], out=tmp_path / "other", key=other)
    shutil.copy(tmp_path / "other/keyring.gpg", tmp_path / "repository/keyring.gpg")
    with pytest.raises(DsopsError):
        consume(tmp_path / "repository", tmp_path / "apt", "dsops-test")


@tools
def test_an_unreachable_mirror_is_an_error_even_where_old_lists_are_there(key: AptKey, tmp_path: Path) -> None:
    build_repository([make_deb(tmp_path)], out=tmp_path / "repository", key=key)
    consume(tmp_path / "repository", tmp_path / "apt", "dsops-test")
    (tmp_path / "repository").rename(tmp_path / "gone")
    with pytest.raises(DsopsError) as caught:
        consume(tmp_path / "repository", tmp_path / "apt", "dsops-test")
    assert caught.value.mend == "is the mirror in /etc/apt reachable?"


@tools
def test_an_unknown_package_is_named(key: AptKey, tmp_path: Path) -> None:
    build_repository([make_deb(tmp_path)], out=tmp_path / "repository", key=key)
    with pytest.raises(DsopsError, match="no-such-package"):
        consume(tmp_path / "repository", tmp_path / "apt", "no-such-package")


@tools
def test_a_repository_is_made_once_and_copied_afterwards(key: AptKey, tmp_path: Path) -> None:
    deb, kept = make_deb(tmp_path), tmp_path / "kept"
    for name in ("one", "two"):
        ensure_repository([deb], out=tmp_path / name, key=key, kept=kept)
    assert (tmp_path / "one/InRelease").read_bytes() == (tmp_path / "two/InRelease").read_bytes()
    assert len(list(kept.iterdir())) == 1


@tools
def test_the_same_name_with_other_bytes_is_another_repository(key: AptKey, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    ensure_repository([make_deb(tmp_path)], out=tmp_path / "one", key=key, kept=kept)
    deb = make_deb(tmp_path, text="republished")
    ensure_repository([deb], out=tmp_path / "two", key=key, kept=kept)
    assert (tmp_path / "two/dsops-test_1_2.0+x~1_all.deb").read_bytes() == deb.read_bytes()
    assert len(list(kept.iterdir())) == 2


@tools
def test_an_interrupted_repository_is_not_kept(key: AptKey, tmp_path: Path) -> None:
    deb, kept, lost = make_deb(tmp_path), tmp_path / "kept", tmp_path / "nokey"
    lost.mkdir(mode=0o700)
    with pytest.raises(DsopsError):  # nothing to sign with: it fails at the last step
        ensure_repository([deb], out=tmp_path / "one", key=AptKey(lost), kept=kept)
    assert [folder.suffix for folder in kept.iterdir()] == [".new"]
    assert not (tmp_path / "one").exists()
    half = next(kept.iterdir())
    half.rename(half.with_name("half.new"))
    for _ in range(2):
        ensure_repository([deb], out=tmp_path / "two", key=key, kept=kept)
        assert (tmp_path / "two/InRelease").is_file()
        shutil.rmtree(tmp_path / "two")


@tools
def test_what_a_killed_run_left_is_made_anew(key: AptKey, tmp_path: Path) -> None:
    deb, kept = make_deb(tmp_path), tmp_path / "kept"
    ensure_repository([deb], out=tmp_path / "one", key=key, kept=kept)
    made = next(kept.iterdir())
    made.rename(made.with_name(made.name + ".new"))
    (kept / f"{made.name}.new/InRelease").unlink()
    ensure_repository([deb], out=tmp_path / "two", key=key, kept=kept)
    assert (tmp_path / "two/InRelease").is_file()
    assert [folder.name for folder in kept.iterdir()] == [made.name]


def test_a_repository_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="at least one package"):
        build_repository([], out=tmp_path / "out", key=AptKey(tmp_path))
    assert not (tmp_path / "out").exists()


def list_keys(home: Path) -> list[str]:
    """The fingerprints of the private keys."""
    said = run(["gpg", "--homedir", home, "--list-secret-keys", "--with-colons"])
    run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"])
    return [line for line in said.splitlines() if line.startswith("fpr:")]


@tools
def test_a_half_made_key_ring_is_completed_and_a_whole_one_stays(tmp_path: Path) -> None:
    home = tmp_path / "g"
    home.mkdir(mode=0o700)
    (home / "pubring.kbx").write_bytes(b"")  # gpg makes it before the key
    ensure_apt_key(home)
    before = list_keys(home)
    assert len(before) == 1
    ensure_apt_key(home)
    assert list_keys(home) == before
    assert home.stat().st_mode & 0o777 == 0o700


@tools
def test_no_daemon_of_gpg_stays(tmp_path: Path) -> None:
    ensure_apt_key(tmp_path / "g")
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(tmp_path).encode() not in status.read_bytes()
        except OSError:
            continue


def test_missing_tools_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DsopsError, match="is not installed") as caught:
        ensure_apt_key(tmp_path / "g")
    assert caught.value.mend == "apt-get install apt-utils gnupg"
