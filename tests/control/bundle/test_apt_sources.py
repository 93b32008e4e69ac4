"""The machine's own mirror is found in every form of apt's configuration; third parties and disabled ones are not."""

from pathlib import Path

import pytest
from dsops.control.bundle.apt_sources import find_sources, read_codename, read_system, render_deb822
from dsops.core.errors import DsopsError

RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'
ONE_LINE = """
# deb http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib  # ours
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://mirror.example/debian bookworm-updates main
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/security bookworm-security main non-free-firmware
deb http://mirror.example/debian bookworm-backports main
deb http://mirror.example/debian trixie main
deb [arch=amd64] http://containers.example/linux/debian bookworm stable
deb http://database.example/pub bookworm-pgdg main
deb http://flat.example/packages ./
"""
DEB822 = """# The distribution
Types: deb deb-src
URIs: http://mirror.example/debian http://second.example/debian
Suites: bookworm
 bookworm-updates
# a remark inside
Components: main non-free-firmware
Architectures: amd64 arm64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main

types: deb
uris: http://off.example/debian
suites: bookworm
components: main
enabled: No
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text(RELEASE)
    return tmp_path


def test_one_line_sources_of_the_distribution_are_found(root: Path) -> None:
    (root / "etc/apt/sources.list").write_text(ONE_LINE)
    assert [line.split("#")[0].split() for line in find_sources(root)] == [
        ["deb", "http://mirror.example/debian", "bookworm", "main", "contrib"],
        [
            "deb",
            "[arch=amd64",
            "signed-by=/usr/share/keyrings/a.gpg]",
            "http://mirror.example/debian",
            "bookworm-updates",
            "main",
        ],
        ["deb", "http://mirror.example/security", "bookworm-security", "main", "non-free-firmware"],
    ]


def test_deb822_sources_are_rendered_in_one_line_each(root: Path) -> None:
    (root / "etc/apt/sources.list.d/debian.sources").write_text(DEB822)
    options = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg arch=amd64,arm64]"
    assert find_sources(root) == [
        f"deb {options} http://{host}.example/debian {suite} main non-free-firmware"
        for host in ("mirror", "second")
        for suite in ("bookworm", "bookworm-updates")
    ]


def test_a_third_party_in_deb822_is_not_taken(root: Path) -> None:
    (root / "etc/apt/sources.list.d/debian.sources").write_text(DEB822)
    other = "Types: deb\nURIs: http://containers.example/debian\nSuites: bookworm\nComponents: stable\n"
    (root / "etc/apt/sources.list.d/other.sources").write_text(other)
    assert not any("containers" in line for line in find_sources(root))


@pytest.mark.parametrize("word", ["no", "No", "false", "0", "off", "disable", "without"])
def test_every_word_of_apts_for_disabled_is_known(word: str) -> None:
    stanza = f"Types: deb\nURIs: http://mirror.example/x\nSuites: bookworm\nComponents: main\nEnabled: {word}\n"
    assert render_deb822(stanza) == []
    assert render_deb822(stanza.replace(f"Enabled: {word}", "Enabled: yes")) != []


@pytest.mark.parametrize("stanza", ["", "# nothing\n", "Types: deb\n", "Types: deb\nURIs: http://mirror.example/x\n"])
def test_half_a_stanza_gives_no_source(stanza: str) -> None:
    assert render_deb822(stanza) == []


def test_files_that_apt_does_not_read_are_not_read(root: Path) -> None:
    for name in ("old.list.save", "x.list.disabled", "README"):
        (root / "etc/apt/sources.list.d" / name).write_text("deb http://old.example/debian bookworm main\n")
    with pytest.raises(DsopsError, match="no apt source for bookworm"):
        find_sources(root)


def test_the_system_is_read(root: Path) -> None:
    assert (read_codename(root), read_system(root)) == ("bookworm", "debian 12")


@pytest.mark.parametrize("text", [None, "", "ID=arch\n"])
def test_an_unknown_system_is_an_error_with_a_mend(root: Path, text: str | None) -> None:
    file = root / "etc/os-release"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(DsopsError, match="no VERSION_CODENAME") as caught:
        find_sources(root)
    assert caught.value.mend
