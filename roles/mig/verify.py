"""Are the GPUs divided as the inventory asks for, and does each slot compute on its own instance?"""

import json
import shlex
from typing import Any

import pytest
from dsops.control.fleet.inventory import Server

from roles.mig.defaults import Mig
from roles.mig.divide import PROGRAM, UNIT
from roles.ops.proofs import Host, get_owners, get_settings, get_unit

GROUPS = ("gpu",)
SLOTS = ("a", "b")
FOLDER = "/run/dsops-mig"


def get_wanted(server: Server) -> Mig:
    """The settings. Skips where nothing is asked for."""
    said = get_settings(Mig, server)
    if not said.mig_layouts:
        pytest.skip("the inventory asks for no division of GPUs (mig_layouts)")
    return said


def ask(host: Host) -> Any:
    """What dsops on the server says of its own configuration, after it has asked the driver."""
    return json.loads(host.check_output(f"{PROGRAM} plan"))


def test_each_gpu_is_divided_as_the_inventory_says(host: Host, server: Server) -> None:
    said = get_wanted(server)
    words = [word for text in said.mig_layouts for word in ("--layout", text)]
    words += [word for text in said.mig_slots for word in ("--slot", text)]
    found = json.loads(host.check_output(f"{PROGRAM} plan {shlex.join(words)}"))
    assert not found["refused"]
    assert found["changes"] == []


def test_the_server_would_divide_them_so_at_its_next_boot(host: Host, server: Server) -> None:
    get_wanted(server)
    found = ask(host)
    assert (found["refused"], found["changes"]) == ("", [])
    unit = get_unit(host, UNIT)
    assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled")


def test_each_slot_that_runs_has_the_device_that_it_is_bound_to(host: Host, server: Server) -> None:
    get_wanted(server)
    devices = ask(host)["devices"]
    for slot in SLOTS:
        unit = get_unit(host, f"triton@{slot}.service")
        if unit["ActiveState"] != "active":
            continue
        environment = host.check_output(f"tr '\\0' '\\n' < /proc/{unit['MainPID']}/environ").splitlines()
        told = [line for line in environment if line.startswith("CUDA_VISIBLE_DEVICES=")]
        assert told == [devices[slot]] if slot in devices else not told, f"slot {slot}"


def test_no_slot_starts_without_knowing_its_device(host: Host, server: Server) -> None:
    get_wanted(server)
    for slot in SLOTS:
        files = host.check_output(f"systemctl show -p EnvironmentFiles --value triton@{slot}.service").strip()
        assert files == f"{FOLDER}/{slot}.env (ignore_errors=no)"


def test_only_root_can_say_which_device_is_a_slots(host: Host, server: Server) -> None:
    get_wanted(server)
    paths = ["/etc/dsops/mig.toml", *(f"{FOLDER}/{slot}.env" for slot in SLOTS)]
    assert get_owners(host, paths) == dict.fromkeys(paths, "644 root root")
