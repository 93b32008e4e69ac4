"""The driver role: what it installs from, what it refuses before any change, and what counts as drift."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from dsops.catalog.locksets import get_lockset
from dsops.core.drivers.boots import Stage, State
from dsops.core.drivers.fit import Cards
from dsops.core.drivers.lockset import Carried
from pyinfra.api.exceptions import DeployError

from roles.driver.choice import CardsFact, find_problems, read_carried, render_refusal
from roles.driver.state import DriverFact, Found, IsEnabled, at_boot, find_differences, find_refusal, lockset
from tests.roles.bundle import LOCKSETS, fake_data, write_bundle
from tests.roles.here import CommandFailed, Here
from tests.roles.test_roles import SYSTEMS, commands

NAME = LOCKSETS["debian 12"]
SET = Carried(get_lockset(NAME), {"nvidia-current.ko": "0" * 64})
SETTLED = Found(
    State(Stage.SETTLED, NAME, previous="older", passed=(NAME,)),
    packages=dict(SET.pins),
    held=frozenset(SET.pins),
    modules=dict(SET.modules),
    is_pinned=True,
)
PACKAGE = "libcuda1"


class Answering(Here):
    """A server whose facts are told, and that does nothing."""

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found

    def get_fact(self, kind: type[Any], **arguments: Any) -> Any:
        return self.found

    def _run(self, command: Any) -> None:
        if hasattr(command, "function"):
            super()._run(command)
        self.ran.append(str(command))


def cards(text: str) -> Any:
    return CardsFact().process(text.splitlines())


# What is run.


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_set_comes_from_the_bundle_and_its_own_program_installs_it(tmp_path: Path, system: str) -> None:
    said = commands("driver", tmp_path, system=system)
    name = LOCKSETS[system]
    text = "\n".join(said)
    assert f"/var/lib/dsops/driver/sets/{name}" in text
    change, gate = (
        next(i for i, line in enumerate(said) if words in line)
        for words in (f"dsops.node.driver change {name}", "systemctl enable --quiet dsops-driver-gate.service")
    )
    # A cut in the middle of the change must find somebody at the next boot.
    assert gate < change
    assert not any("systemctl start dsops-driver-gate" in line for line in said)
    assert any("modprobe.d/90-dsops-nouveau.conf" in line for line in said[:change])


def test_a_server_without_a_lockset_and_a_container_are_left_alone(tmp_path: Path) -> None:
    assert commands("driver", tmp_path / "a", driver_lockset="") == []
    answers = fake_data(tmp_path, tmp_path)["fake_responses"] | {"systemd-detect-virt": "yes"}
    said = commands("driver", tmp_path / "b", fake_responses=answers)
    assert not [line for line in said if "detect-virt" not in line]


# What is refused.


def refuse(tmp_path: Path, words: str, **more: Any) -> None:
    with pytest.raises(DeployError, match=words):
        commands("driver", tmp_path, **more)


def test_a_set_that_the_bundle_lacks_is_refused_with_what_it_has(tmp_path: Path) -> None:
    refuse(tmp_path / "a", rf"carries no driver set 'x'\n  mend: known: {NAME}", driver_lockset="x")
    with pytest.raises(Exception, match="carries no driver set") as caught:
        read_carried(tmp_path / "empty", NAME)
    assert caught.value.mend == f"dsops bundle build --lockset {NAME}"  # type: ignore[attr-defined]


def test_a_set_for_another_system_is_refused_before_any_change(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", system="debian 12")
    words = f"{NAME} is for debian 12, the server is ubuntu 24.04"
    refuse(tmp_path, words, system="ubuntu 24.04", bundle=bundle, driver_lockset=NAME)


def test_cards_and_engines_that_the_driver_cannot_drive_are_refused_with_every_reason(tmp_path: Path) -> None:
    answers = fake_data(tmp_path, tmp_path)["fake_responses"] | {"/sys/bus/pci/devices": "0x030200 0x2901"}
    words = r"(?s)cannot work here:.*Blackwell \(B200\).*trtlm.*did you mean trtllm.*nothing was changed"
    refuse(tmp_path, words, fake_responses=answers, driver_engines=["trtlm"])


def test_a_limit_of_no_boots_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path, "driver_gate_failures: should be 1 or more, is 0", driver_gate_failures=0)


def test_cards_are_read_from_pci_with_their_switches() -> None:
    found = cards("0x030200 0x2330\n0x030200 0x2330\n0x068000 0x22a3\n0x0c0330 0x1234")
    assert found == Cards(("2330", "2330"), with_fabric=2, switches=1)
    (problem,) = find_problems(SET, system="debian 12", cards=found, engines=())
    assert "no Fabric Manager" in render_refusal((problem,))


# Drift.


def test_a_server_that_has_the_set_needs_nothing() -> None:
    server = Answering(SETTLED)
    assert find_differences(SET, SETTLED) == []
    assert not server.perform(lockset, wanted=SET)
    assert server.said == [f"{NAME} is installed, pinned and held"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"packages": dict(SET.pins) | {PACKAGE: "535.261.03-1"}}, "libcuda1 is 535.261.03-1, the set has 535.309.01"),
        ({"packages": {k: v for k, v in SET.pins.items() if k != PACKAGE}}, "libcuda1 is none, the set has"),
        ({"held": frozenset(SET.pins) - {PACKAGE}}, "libcuda1 is not held"),
        ({"modules": {"nvidia-current.ko": "1" * 64}}, "nvidia-current.ko is not the set's"),
        ({"modules": {}}, "nvidia-current.ko is not the set's"),
        ({"is_pinned": False}, "90-dsops-driver is not there"),
        ({"state": State(Stage.TURNING, NAME)}, "a change of it was cut"),
        ({"state": State(Stage.SETTLED, "older")}, f"older -> {NAME}"),
        ({"state": None}, f"none of ours -> {NAME}"),
    ],
)
def test_what_somebody_changed_by_hand_is_found_and_mended(other: dict[str, Any], words: str) -> None:
    found = replace(SETTLED, **other)
    (said,) = find_differences(SET, found)
    assert words in said
    server = Answering(found)
    assert server.perform(lockset, wanted=SET)
    assert f"dsops.node.driver change {NAME}" in server.ran[0]


def test_where_dkms_builds_its_source_is_held_too() -> None:
    built = replace(SET, modules={})
    assert "nvidia-kernel-dkms" in built.pins
    assert "nvidia-kernel-dkms" not in SET.pins


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(Stage.SETTLED, "older", bad=(NAME,), says="failed at boot 2 of 2"), "failed on this node before"),
        (State(Stage.HALTED, NAME, says="a person must look"), "the node halted: a person must look"),
    ],
)
def test_a_set_that_this_node_left_is_not_forced_upon_it(state: State, words: str) -> None:
    found = replace(SETTLED, state=state, held=frozenset())
    assert words in find_refusal(SET, found)
    server = Answering(found)
    with pytest.raises(CommandFailed):
        server.perform(lockset, wanted=SET)
    assert server.ran == ["refuse"]


def test_what_a_server_says_is_understood() -> None:
    state = State(Stage.SETTLED, NAME, previous="older", passed=(NAME,))
    lines = [f"state {json.dumps(asdict(state))}"]
    lines += [f"package {name} installed {version}" for name, version in SET.pins.items()]
    lines += [
        "package left config-files 1",
        "held libcuda1",
        "held linux-image",
        f"module {'0' * 64} nvidia-current.ko",
    ]
    found = DriverFact().process([*lines, "pinned"])
    assert found == replace(SETTLED, state=state, held=frozenset({"libcuda1", "linux-image"}))
    assert DriverFact().process([]) == Found()


def test_a_state_that_cannot_be_read_fails_that_server_in_words() -> None:
    class Broken(Answering):
        def get_fact(self, kind: type[Any], **arguments: Any) -> Any:
            return DriverFact().process(["state {"])

    server = Broken(Found())
    with pytest.raises(CommandFailed):
        server.perform(lockset, wanted=SET)
    assert server.ran == ["refuse"]


def test_the_fact_is_shell_that_runs_on_a_server_without_any_of_it() -> None:
    assert Here().get_fact(DriverFact, names=["no-such-package"], release="no-such-kernel").state is None
    assert isinstance(Here().get_fact(CardsFact), Cards)


def test_the_gate_is_enabled_and_not_started() -> None:
    assert IsEnabled().process(["enabled", "no"])
    assert not IsEnabled().process(["enabled", "yes"])
    assert not IsEnabled().process(["no"])
    server = Answering(Found())
    server.found = False  # type: ignore[assignment]
    server.perform(at_boot, unit="dsops-driver-gate.service")
    assert server.ran == ["systemctl daemon-reload && systemctl enable --quiet dsops-driver-gate.service"]
