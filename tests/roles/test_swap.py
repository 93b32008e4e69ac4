"""Swap: what is made, what is refused with its figures, and what an interrupted run leaves to the next."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import DeployError

from roles.swap.defaults import Swap
from roles.swap.file import in_use, render_make, render_remove, render_turn, room, swap_file, unwanted
from roles.swap.state import (
    GIB,
    LABEL,
    MARK,
    UNITS,
    Active,
    SwapFact,
    SwapFile,
    SwapState,
    find_refusal,
    find_unwanted,
    new_path,
    unit_name,
    want_new,
)
from tests.roles.bundle import fake_data
from tests.roles.here import CommandFailed, Here, write_program
from tests.roles.test_roles import commands

PATH = "/swapfile"
SAID = Swap(swap_gb=4)
OURS = SwapFile("regular file", 4 * GIB, 4 * GIB + 8192, "600 root root", True, LABEL)
ROOMY = SwapState(filesystem="ext4", free=100 * GIB, memory=64 * GIB, available=60 * GIB, enabled=True)
SETTLED = replace(
    ROOMY, files={PATH: OURS}, active={PATH: Active(PATH, 4 * GIB - 4096, 0)}, ours=(PATH,), free=96 * GIB
)


class Server(Here):
    """Swap in use is what is listed in `active`; swapon and swapoff keep that list. What else is told stands in log."""

    def __init__(self, folder: Path, *, takes: bool = True) -> None:
        super().__init__(path=str(folder / "bin"))
        self.log, self.active = folder / "log", folder / "active"
        self.log.touch()
        self.active.touch()
        listed = f"""case "$*" in
*USED,SIZE,NAME*) cat {self.active} ;;
*USED,NAME*) sed 's/ [0-9]* / /' {self.active} ;;
*) echo "swapon $*" >> {self.log}; {"" if takes else "echo has holes >&2; exit 255;"}
   echo "0 1048576 $1" >> {self.active} ;;
esac"""
        write_program(folder / "bin", "swapon", listed)
        known, gone = f'grep -q " $1\\$" {self.active} || exit 4', f'sed -i "\\| $1\\$|d" {self.active}'
        off = f'{known}; echo "swapoff $*" >> {self.log}; {gone}'
        write_program(folder / "bin", "swapoff", off)
        write_program(folder / "bin", "systemctl", f'echo "systemctl $*" >> {self.log}')

    def told(self) -> list[str]:
        return self.log.read_text().splitlines()

    def do(self, command: str) -> None:
        """Runs it. Raises CommandFailed with what it said."""
        done = self.sh(command)
        if done.returncode:
            raise CommandFailed(done.stderr)


def answer(state: SwapState) -> Any:
    """A server whose swap is in this state, and that does nothing."""

    class Answering(Here):
        def get_fact(self, kind: type[Any], **arguments: Any) -> Any:
            return state

        def _run(self, command: Any) -> None:
            if hasattr(command, "function"):
                super()._run(command)
            self.ran.append(str(command))

    return Answering()


def header(path: Path) -> Mapping[str, str]:
    """What blkid reads from a file."""
    text = Here().sh(f"blkid -p -o export {path}").stdout
    return dict(line.split("=", 1) for line in text.splitlines())


def make(path: Path, *, label: str = LABEL, size: int = 1 << 20) -> Path:
    """A real swap file without holes."""
    Here().sh(f"dd if=/dev/zero of={path} bs={size} count=1 && chmod 600 {path} && mkswap -L '{label}' {path}")
    return path


# What is wanted, and what is refused.


def test_a_settled_server_needs_nothing() -> None:
    assert not want_new(SAID, SETTLED)
    assert not find_refusal(SAID, SETTLED)
    assert find_unwanted(SAID, SETTLED) == []
    server = answer(SETTLED)
    assert not any(server.perform(one, said=SAID) for one in (room, swap_file, in_use, unwanted))


@pytest.mark.parametrize(
    "other",
    [
        replace(SETTLED, files={}),
        replace(SETTLED, files={PATH: replace(OURS, size=8 * GIB, allocated=8 * GIB)}),
        replace(SETTLED, files={PATH: replace(OURS, allocated=GIB)}),
        replace(SETTLED, active={PATH: Active(PATH, 2 * GIB, 0)}),
    ],
    ids=["none", "another size", "holes", "an old header"],
)
def test_what_is_not_whole_is_made_anew(other: SwapState) -> None:
    assert want_new(SAID, other)
    assert not find_refusal(SAID, other)


def test_another_mode_is_mended_without_making_the_file_anew() -> None:
    server = answer(replace(SETTLED, files={PATH: replace(OURS, owner="644 root root")}))
    assert not server.perform(swap_file, said=SAID)
    assert server.perform(in_use, said=SAID)
    assert server.ran == ["chown root:root /swapfile && chmod 600 /swapfile"]


def test_a_swap_that_somebody_took_out_of_use_is_started_and_enabled_again() -> None:
    server = answer(replace(SETTLED, active={}, enabled=False))
    server.perform(in_use, said=SAID)
    assert "systemctl enable --quiet swapfile.swap" in server.ran[0]
    assert "systemctl start swapfile.swap" in server.ran[1]


@pytest.mark.parametrize(
    ("filesystem", "why"), [("btrfs", "snapshots"), ("overlay", "no blocks"), ("tmpfs", "memory"), ("nfs4", "network")]
)
def test_a_file_system_that_cannot_is_refused(filesystem: str, why: str) -> None:
    refusal = find_refusal(SAID, replace(ROOMY, filesystem=filesystem))
    assert f"no swap file on {filesystem}" in refusal
    assert why in refusal
    assert "name a swap_file on ext4 or xfs" in refusal


def test_a_folder_that_is_not_there_is_refused() -> None:
    assert "its folder is not there" in find_refusal(SAID, replace(ROOMY, filesystem=""))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (replace(OURS, label="", allocated=4096), "with holes: 0.0 GiB of 4.0 GiB on disk; remove it"),
        (replace(OURS, label="", is_swap=False), "dsops did not make it; remove it, or name another swap_file"),
        (replace(OURS, label=""), "hand it over: swaplabel -L dsops /swapfile"),
        (replace(OURS, kind="symbolic link"), "/swapfile is a symbolic link"),
    ],
    ids=["sparse", "data", "somebody's swap", "link"],
)
def test_what_dsops_did_not_make_is_never_overwritten(file: SwapFile, words: str) -> None:
    assert words in find_refusal(SAID, replace(ROOMY, files={PATH: file}))


def test_a_disk_that_would_be_full_is_refused_with_figures() -> None:
    refusal = find_refusal(SAID, replace(ROOMY, free=13 * GIB))
    assert "4.0 GiB do not fit: 13.0 GiB are free and 10.0 GiB must stay so" in refusal
    assert not find_refusal(SAID, replace(ROOMY, free=14 * GIB))


def test_a_left_over_counts_as_free_and_the_old_file_does_not() -> None:
    left = replace(OURS, is_swap=False, label="", allocated=4 * GIB)
    assert not find_refusal(SAID, replace(ROOMY, free=10 * GIB, files={new_path(PATH): left}))
    grown = find_refusal(Swap(swap_gb=8), replace(SETTLED, free=14 * GIB))
    assert "8.0 GiB do not fit (the old file goes only when the new one is there)" in grown


@pytest.mark.parametrize("gb", [0, 2, 8])
def test_pages_that_memory_cannot_take_back_are_refused_with_figures(gb: int) -> None:
    busy = replace(SETTLED, active={PATH: Active(PATH, 4 * GIB - 4096, 3 * GIB)}, available=5 * GIB)
    refusal = find_refusal(Swap(swap_gb=gb), busy)
    assert "3.0 GiB are paged out to /swapfile" in refusal
    assert "1.8 GiB of memory can take them (5.0 GiB are available, 5 % of 64.0 GiB must stay free)" in refusal
    assert not find_refusal(SAID, busy)


def test_a_refusal_changes_nothing() -> None:
    server = answer(replace(ROOMY, filesystem="btrfs"))
    with pytest.raises(CommandFailed):
        server.perform(room, said=SAID)
    assert server.ran == ["refuse"]


def test_none_asked_for_takes_away_what_dsops_made_and_nothing_else() -> None:
    none = Swap(swap_gb=0)
    assert find_unwanted(none, SETTLED) == [PATH]
    other = replace(SETTLED, active={**SETTLED.active, "/dev/sda2": Active("/dev/sda2", GIB, 0)})
    assert find_unwanted(none, other) == [PATH]
    assert [one.path for one in other.find_foreign(PATH)] == ["/dev/sda2"]
    foreign = replace(ROOMY, files={PATH: replace(OURS, label="")}, active=SETTLED.active)
    assert find_unwanted(none, foreign) == []
    assert [one.path for one in foreign.find_foreign(PATH)] == [PATH]


def test_a_file_whose_unit_a_cut_run_did_not_reach_is_known_by_its_label() -> None:
    assert find_unwanted(Swap(swap_gb=0), replace(ROOMY, files={PATH: OURS})) == [PATH]


def test_the_file_of_an_older_path_goes_once_the_new_one_is_in_use() -> None:
    moved = replace(SAID, swap_file="/data/swap")
    assert find_unwanted(moved, SETTLED) == [PATH]
    assert want_new(moved, SETTLED)


def test_a_line_in_fstab_would_miss_a_removed_file_and_is_refused() -> None:
    refusal = find_refusal(Swap(swap_gb=0), replace(SETTLED, fstab=(PATH,)))
    assert refusal == "/etc/fstab names /swapfile: the next boot would miss it; remove that line first"


# What a server says.


def test_what_a_server_says_is_understood() -> None:
    text = (
        "filesystem=xfs\nfree=5368709120\nmemory=2014912\navailable=1500000\nenabled=enabled\nreload=no\n"
        "active=4096 1073737728 /swapfile\nactive=0 8192 /dev/sda2\nfstab=UUID=1-2\nours=/swapfile\n"
        "file=regular file|1073741824|2097160|512|600 root root|swap|dsops|/swapfile\n"
        "file=regular empty file|0|0|512|600 root root|||/swapfile.dsops-new"
    )
    state = SwapFact().process(text.splitlines())
    assert (state.filesystem, state.free, state.enabled, state.reload) == ("xfs", 5 * GIB, True, False)
    assert state.available == 1500000 << 10
    assert state.active[PATH] == Active(PATH, GIB - 4096, 4096)
    assert state.files[PATH] == SwapFile("regular file", GIB, GIB + 4096, "600 root root", True, "dsops")
    assert not state.files[new_path(PATH)].is_swap
    assert (state.ours, state.fstab) == ((PATH,), ("UUID=1-2",))


def test_a_real_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = make(tmp_path / "swapfile")
    state = Server(tmp_path).get_fact(SwapFact, path=str(path))
    file = state.files[str(path)]
    assert file.is_ours
    assert not file.has_holes
    assert file.owner == "600 root root"
    assert state.memory > state.available > 0


@pytest.mark.parametrize(
    ("path", "unit"), [("/swapfile", "swapfile.swap"), ("/mnt/my-disk/swap.1", "mnt-my\\x2ddisk-swap.1.swap")]
)
def test_a_unit_is_named_as_systemd_wants_it(path: str, unit: str) -> None:
    assert unit_name(path) == unit


# What is run.


def test_a_file_is_made_whole_and_tried_before_it_is_there(tmp_path: Path) -> None:
    server, path = Server(tmp_path), tmp_path / "swapfile"
    (tmp_path / "swapfile.dsops-new").write_text("half of one")
    server.do(render_make(str(path), size=1 << 20))
    new = new_path(str(path))
    assert not path.exists()
    assert header(Path(new))["LABEL"] == LABEL
    assert (Path(new).stat().st_mode & 0o777, Path(new).stat().st_size) == (0o600, 1 << 20)
    assert server.told() == [f"swapon {new}", f"swapoff {new}"]
    server.do(render_turn(str(path)))
    assert header(path)["LABEL"] == LABEL
    assert not Path(new).exists()


def test_a_file_that_the_kernel_does_not_take_goes_and_the_old_one_stays(tmp_path: Path) -> None:
    server, path = Server(tmp_path, takes=False), make(tmp_path / "swapfile")
    with pytest.raises(CommandFailed, match="has holes"):
        server.do(render_make(str(path), size=1 << 20))
    assert path.exists()
    assert not Path(new_path(str(path))).exists()


def test_an_old_file_in_use_leaves_before_its_place_is_taken(tmp_path: Path) -> None:
    server, path = Server(tmp_path), make(tmp_path / "swapfile")
    server.active.write_text(f"4096 1048576 {path}\n")
    make(Path(new_path(str(path))), size=2 << 20)
    server.do(render_turn(str(path)))
    assert server.told() == [f"swapoff {path}"]
    assert path.stat().st_size == 2 << 20


def test_memory_that_went_meanwhile_keeps_the_old_file_in_use(tmp_path: Path) -> None:
    server, path = Server(tmp_path), make(tmp_path / "swapfile")
    server.active.write_text(f"{1 << 50} {1 << 50} {path}\n")
    with pytest.raises(CommandFailed, match=f"{1 << 50} bytes are paged out, memory can take [0-9]+; drain the node"):
        server.do(f"{render_turn(str(path))} && touch {tmp_path}/turned")
    assert server.told() == []
    assert not (tmp_path / "turned").exists()


def test_a_removed_file_is_out_of_use_first_and_its_unit_goes_last() -> None:
    text = render_remove(PATH, and_file=True)
    steps = ["swapoff /swapfile", "systemctl disable", "rm -f /swapfile", f"rm -f {UNITS}/swapfile.swap"]
    assert [text.index(step) for step in steps] == sorted(text.index(step) for step in steps)
    assert "rm -f /swapfile " not in render_remove(PATH, and_file=False)


# The role on servers that are not there.


def test_the_unit_is_there_before_the_file_that_it_answers_for(tmp_path: Path) -> None:
    said = commands("swap", tmp_path)
    unit, make_, start = (
        next(i for i, line in enumerate(said) if words in line)
        for words in (f"cat > {UNITS}/swapfile.swap", "fallocate -l 34359738368", "systemctl start swapfile.swap")
    )
    assert unit < make_ < start
    assert MARK in (Path(__file__).parents[2] / "roles/swap/templates/file.swap.j2").read_text()


def test_a_container_is_left_alone(tmp_path: Path) -> None:
    answers = fake_data(tmp_path, tmp_path)["fake_responses"] | {"systemd-detect-virt": "yes"}
    assert not [line for line in commands("swap", tmp_path, fake_responses=answers) if "detect-virt" not in line]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("swap_gb", -1, "swap_gb: should be 0 or more GiB"),
        ("swap_disk_reserve_gb", -1, "swap_disk_reserve_gb: should be 0 or more GiB"),
        ("swap_swappiness", 201, "should be 0 to 200, is 201"),
        ("swap_file", "swapfile", "should be an absolute path"),
        ("swap_file", "/a b", "should be an absolute path"),
        ("swap_file", "/data/../swap", "should be an absolute path"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_change(tmp_path: Path, key: str, value: object, words: str) -> None:
    with pytest.raises(DeployError, match=words):
        commands("swap", tmp_path, **{key: value})
