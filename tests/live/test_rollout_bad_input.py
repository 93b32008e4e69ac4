"""Rollouts that must not begin: each refusal says what stands in the way and how to mend it, and changes nothing."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dsops.control.bundle.sign import sign
from dsops.control.cli.release.papers import get_folder, name_file
from dsops.control.fleet.inventory import get_fleet
from dsops.control.rollout.memory import Banned, Memory, parse_memory
from dsops.control.rollout.store import Store
from dsops.core.passport import Answered, Hardware, Measurement, Run, RunKind, Seen, make_passport
from dsops.core.prompts import parse_prompts

from tests.live.ills.releases import CHECKPOINT, find_lab_signer
from tests.live.moves import Done, Shelf, assert_refused, push
from tests.live.rollouts import QUICK, WHY, WITHOUT, drop_in, memory, remove, rollout, take_picture
from tests.live.site import GPUS, INVENTORY, WHO, Service, dsops, find_status, healthy, node_door, wait

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
STATE = Path("/var/lib/dsops-control")
SKEW = 90
# The agent as its unit starts it, with another clock.
CODE = f"import sys, runpy, time; real = time.time; time.time = lambda: real() + {SKEW}; "
CODE += "sys.argv = ['agent', '--config', '/etc/dsops/agent.toml']; "
CODE += "runpy.run_module('dsops.node.agent', run_name='__main__')"
SKEWED = f'[Service]\nExecStart=\nExecStart=/opt/dsops/venv/bin/python -I -c "{CODE}"\n'
OTHER = Hardware(gpus=("NVIDIA Teapot", "NVIDIA Teapot"))


def start(release: Path | str, *words: str) -> Done:
    name = release.name if isinstance(release, Path) else release
    return rollout("start", name, *words, *WHY, *QUICK)


@contextmanager
def unchanged() -> Iterator[None]:
    """The nodes, the epoch and the rollouts are what they were; an attempt that was refused is none."""
    before = take_picture()
    yield
    assert take_picture() == before


@contextmanager
def remembering(**fields: Any) -> Iterator[None]:
    """As if the fleet remembered this, until the test is over."""
    store = Store(STATE, get_fleet(INVENTORY).path)
    was = store.read_fleet()
    store.change_fleet(lambda text: replace(parse_memory(text), **fields).to_json())
    try:
        yield
    finally:
        store.change_fleet(lambda _: was or Memory().to_json())


@pytest.mark.thorough
def test_what_no_node_holds_and_what_makes_no_rollout_is_refused(quiet: None, shelf: Shelf) -> None:
    with unchanged():
        said = start("r000000000000")
        assert_refused(said, "nothing was changed", *(f"{node}: does not hold r000000000000" for node in GPUS))
        assert_refused(said, "mend: `dsops release push r000000000000 gpu1`")
        assert_refused(start("r000000000000", "gpu9"), "gpu9")
        assert_refused(start("r000000000000", "--steps", "50,5,100"), "steps grow")
        assert_refused(start("r000000000000", "--hold-at", "7"), "none of the steps")
        assert_refused(rollout("abort", *WHY), "no rollout is active")


@pytest.mark.thorough
def test_a_release_on_the_bad_list_is_refused_with_its_reason(quiet: None, shelf: Shelf) -> None:
    release = shelf["calm"]
    assert push(release, *GPUS).returncode == 0
    banned = Banned(release.name, "it set fire to a rack", time.time())
    with remembering(bad=(banned,)), unchanged():
        said = start(release)
        assert_refused(said, "on the fleet's bad list: it set fire to a rack", f"--unmark {release.name}")
        assert_refused(said, "nothing was changed")
        assert_refused(dsops("release", "activate", release.name, "gpu1", "-i", INVENTORY), "it set fire to a rack")
    with remembering(halted="two releases fell within an hour"), unchanged():
        assert_refused(start(release), "the fleet is halted: two releases fell", "dsops rollout reset --reason")
    done = rollout("start", release.name, *WHY, "--dry", *WITHOUT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.thorough
def test_a_release_that_one_node_marked_bad_is_refused_for_all(quiet: None, shelf: Shelf) -> None:
    release = shelf["corrupted"]
    assert push(release, *GPUS).returncode == 0
    refuted = node_door("gpu2", "release", "activate", release.name, *WHO, "--wait", "60")
    assert refuted.returncode != 0, refuted.stdout
    try:
        with unchanged():
            assert_refused(start(release), f"gpu2: {release.name} is marked bad there", "nothing was changed")
    finally:
        remove(release, "gpu2")


def make_foreign(release: str, *, hardware: Hardware) -> Path:
    """A passport as `dsops release passport` writes it, but of another kind of server."""
    prompts = parse_prompts((CHECKPOINT / "prompts.json").read_bytes(), where="prompts.json")
    answers = tuple(Answered(one.id, (Seen("1", 1),)) for one in prompts)
    measured = Measurement(release, hardware, "1", (Run(RunKind.COLD, 100.0, 5.0),), answers)
    passport = make_passport(measured, node="elsewhere", engine="openvino", made_at=time.time())
    file = get_folder(get_fleet(INVENTORY)) / name_file(release, hardware)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(passport.render())
    sign(file, find_lab_signer().for_releases)
    return file


def test_a_release_with_a_passport_of_other_hardware_is_refused(quiet: None, shelf: Shelf) -> None:
    release = shelf["foreign"]
    file = make_foreign(release.name, hardware=OTHER)
    try:
        pushed = push(release, *GPUS)
        assert pushed.returncode == 0, pushed.stdout + pushed.stderr
        with unchanged():
            said = start(release)
            assert_refused(said, f"gpu1: the passport of {release.name} refuses this hardware", "2 x NVIDIA Teapot")
            assert_refused(said, "--without-passport", "nothing was changed")
    finally:
        file.unlink()
        file.with_name(f"{file.name}.sig").unlink()
        remove(release)


def test_where_there_is_no_capacity_it_is_refused_with_figures(quiet: None, shelf: Shelf) -> None:
    release = shelf["calm"]
    assert push(release, *GPUS).returncode == 0
    with memory("gpu3", total=1 << 20, free=1 << 19), unchanged():
        said = start(release)
        assert_refused(said, f"gpu3: no capacity for {release.name}: no second slot: it needs 0.", "GB are free")
        assert_refused(said, "not even alone", "nothing was changed")


def test_a_clock_that_is_wrong_is_refused_with_the_seconds(quiet: None, shelf: Shelf) -> None:
    release = shelf["calm"]
    assert push(release, *GPUS).returncode == 0
    with drop_in("gpu2", "dsops-agent", SKEWED):
        wait("gpu2's agent is up", lambda: find_status("gpu2") is not None)
        with unchanged():
            done = start(release)
            assert_refused(done, "gpu2: its clock is ", " s ahead of this machine's", "chrony")
            told = re.search(r"its clock is (\d+) s ahead", done.stdout + done.stderr)
            assert told
            assert abs(int(told[1]) - SKEW) <= 5  # what it says is as old as an answer takes


def test_half_the_fleet_unreachable_is_refused(quiet: None, shelf: Shelf) -> None:
    release, hung = shelf["calm"], ("gpu2", "gpu3")
    assert push(release, *GPUS).returncode == 0
    before = take_picture()
    try:
        for node in hung:
            assert dsops("lab", "fault", node, "freeze").returncode == 0
        said = start(release)
        assert_refused(said, "2 of 3 nodes cannot be asked, which is over half of them: gpu2, gpu3", "`dsops status`")
        assert_refused(said, "nothing was changed")
        assert "Exception" not in said.stderr
        wait("gpu1 serves", lambda: healthy("gpu1"), seconds=10)
    finally:
        for node in hung:
            dsops("lab", "fault", node, "thaw")
    wait("all answer", lambda: all(find_status(node) is not None for node in GPUS))
    assert take_picture() == before


@pytest.mark.thorough
def test_while_alerts_cannot_be_read_nothing_begins(quiet: None, service: Service, shelf: Shelf) -> None:
    release = shelf["calm"]
    assert push(release, *GPUS).returncode == 0
    with unchanged():
        words = [word for word in QUICK if word not in WITHOUT]
        assert dsops("lab", "fault", "mon1", "freeze").returncode == 0
        try:
            said = rollout("start", release.name, *WHY, *words)
        finally:
            assert dsops("lab", "fault", "mon1", "thaw").returncode == 0
        assert_refused(said, "while alerts fire nothing goes forward", "--without-alerts")
