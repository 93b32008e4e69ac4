"""The base system's recipe and where its packages come from."""

from dsops.lab.base import INCLUDED, Source, parse_acquire, parse_targets, recipe

TARGETS = """\
http://mirror.example/debian/|bookworm|main|Debian
http://mirror.example/debian/|bookworm|main|Debian
http://mirror.example/debian/|bookworm|non-free|Debian
http://mirror.example/debian/|bookworm-updates|main|Debian
http://mirror.example/debian-security/|bookworm-security|main|Debian
http://mirror.example/debian/|bookworm-backports|main|Debian Backports
https://foreign.example/node_20.x|nodistro|main|. nodistro
https://foreign.example/tools|bookworm|main|Tools Inc
http://mirror.example/unread/|bookworm|main|$(ORIGIN)
"""


def test_only_debians_own_lists_are_taken_once_each() -> None:
    sources = parse_targets(TARGETS)
    assert [str(source) for source in sources] == [
        "deb http://mirror.example/debian/ bookworm main",
        "deb http://mirror.example/debian/ bookworm-updates main",
        "deb http://mirror.example/debian-security/ bookworm-security main",
    ]
    assert sources[0] == Source("http://mirror.example/debian/", "bookworm", "main")


def test_no_list_and_odd_lines_give_nothing() -> None:
    assert parse_targets("") == []
    assert parse_targets("|\nrubbish\n") == []


def test_the_machines_way_to_its_mirror_is_taken_and_nothing_else() -> None:
    dump = """\
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::Check-Valid-Until "false";
Acquire::cdrom::mount "/media/cdrom/";
Dir "/";
"""
    assert parse_acquire(dump) == [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::Check-Valid-Until "false";',
    ]


def test_the_recipes_name_is_short_and_stable() -> None:
    assert recipe() == recipe()
    assert len(recipe()) == 12


def test_the_base_brings_no_python() -> None:
    assert not [package for package in INCLUDED if "python" in package]
