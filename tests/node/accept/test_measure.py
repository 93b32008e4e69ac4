"""A whole measurement of a server, with its own GPUs, burn-in, disk and network; and what is missing from it."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dsops.core.accept.judge import Outcome, Rules, Verdict, decide, judge
from dsops.core.accept.measured import Lack, Measurement, parse_measurement
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.node.accept.burn import Said
from dsops.node.accept.config import AcceptConfig
from dsops.node.accept.measure import Tools, burn_here, measure
from dsops.node.accept.nic import measure_nic
from dsops.node.accept.watch import Watch
from dsops.node.run import Done

from tests.core.accept.nodes import FLOORS
from tests.node.accept.child import make_burnt, make_reader, make_said
from tests.node.accept.test_watch import VALUES

IP = [
    {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "scope": "host"}]},
    {"ifname": "eth0", "addr_info": [{"local": "10.0.0.11", "scope": "global"}]},
    {"ifname": "ib0", "addr_info": [{"local": "192.168.7.11", "scope": "global"}]},
    {"ifname": "docker0", "addr_info": [{"local": "172.17.0.1", "scope": "global"}]},
]


def line(*, count: int = 2, **values: float) -> dict[str, Any]:
    """A sample, as the reader tells it."""
    gpus = [
        {
            "index": index,
            "values": VALUES | values,
            "words": {"uuid": f"GPU-{index}", "name": "NVIDIA H100", "id": "2330", "serial": f"{index}"},
            "absent": [],
            "errors": {},
        }
        for index in range(count)
    ]
    return {"error": "", "driver": "580.1", "gpus": gpus, "xids": [], "xids_lack": ""}


def reader(**first: float) -> Callable[[], Watch]:
    """One that goes on telling of two GPUs."""
    again = json.dumps(line(**first))
    argv = make_reader(line(**first), then=f"\nwhile True:\n    print({again!r}, flush=True)\n    time.sleep(0.01)")
    return lambda: Watch(argv, silent_seconds=10)


def says(data: object, *, code: int = 0) -> Callable[[Any], Done]:
    return lambda argv: Done(code, data if isinstance(data, str) else json.dumps(data), "no such thing")


def make_sys(folder: Path, **speeds: str) -> Path:
    """/sys/class/net, of real interfaces."""
    for name, speed in speeds.items():
        (folder / name / "device").mkdir(parents=True)
        (folder / name / "speed").write_text(speed)
        (folder / name / "operstate").write_text("up\n")
    return folder


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    (tmp_path / "machine-id").write_text("abc\n")
    said = decode(Said, make_said(make_burnt(0), make_burnt(1)), where="x")

    def burn(_: AcceptConfig) -> Said:
        time.sleep(0.3)  # so that the GPUs are seen at work
        return said

    return Tools(
        AcceptConfig(storage_mib=64),
        read_disk=lambda mib: (mib << 20, 0.02, True),
        watch=reader(),
        burns=burn,
        run=says([]),
        machine=tmp_path / "machine-id",
    )


def judged(measured: Measurement) -> dict[tuple[str, int], Outcome]:
    checks = judge(measured, Rules(floors={"2330": FLOORS}, gpus=2))
    return {(check.name, check.gpu): check.outcome for check in checks}


def lacks(measured: Measurement) -> dict[str, tuple[Lack, str]]:
    return {one.name: (one.lack, one.why) for one in measured.gaps}


def test_a_sound_server_has_every_figure_and_passes_but_for_its_network(tools: Tools) -> None:
    measured = measure(tools)
    assert (measured.machine, measured.driver, measured.torch) == ("abc", "580.1", "2.11.0")
    assert [gpu.serial for gpu in measured.gpus] == ["0", "1"]
    assert parse_measurement(measured.render(), where="x") == measured
    found = judged(measured)
    assert {key for key, outcome in found.items() if outcome in (Outcome.FAIL, Outcome.UNKNOWN)} == {("nic", -1)}
    # Everything that an acceptance knows was said something of.
    assert not [gap for gap in measured.gaps if "nobody said why" in gap.why]


def test_a_burn_in_that_fails_leaves_everything_under_load_unknown(tools: Tools) -> None:
    def fail(_: AcceptConfig) -> Said:
        raise DsopsError("the burn-in did not end within 240 s, and was killed")

    measured = measure(replace(tools, burns=fail))
    found = judged(measured)
    assert found[("product_rate", 1)] is found[("memory", 0)] is Outcome.UNKNOWN
    assert lacks(measured)["memory"] == (Lack.UNREAD, "the burn-in did not end within 240 s, and was killed")
    # The counters were read all the same.
    assert found[("ecc_uncorrected", 0)] is Outcome.PASS


@pytest.mark.parametrize("is_broken", [False, True])
def test_gpus_that_did_not_work_are_not_judged_by_what_they_showed_at_rest(tools: Tools, is_broken: bool) -> None:
    def idle(_: AcceptConfig) -> Said:
        time.sleep(0.3)
        if is_broken:
            raise DsopsError("the burn-in ended with exit 1 and told nothing")
        return decode(Said, make_said(why="no engine here has PyTorch"), where="x")

    measured = measure(replace(tools, burns=idle, watch=reader(power=70.0)))
    checks = judge(measured, Rules(gpus=2))
    assert decide(checks) is Verdict.INCOMPLETE
    assert {one.outcome for one in checks if one.name == "power_share"} <= {Outcome.SKIPPED, Outcome.UNKNOWN}


@pytest.mark.parametrize(
    ("change", "is_light", "lack", "why"),
    [
        ({"config": AcceptConfig(burn_in=False)}, False, Lack.OFF, "accept_burn_in is off in the inventory"),
        ({"watch": reader(processes=2.0)}, False, Lack.UNDONE, "GPU 0: 2 processes, GPU 1: 2 processes"),
        ({}, True, Lack.UNDONE, "--while-serving only looks"),
    ],
)
def test_gpus_that_are_not_burnt_in_say_why(
    tools: Tools, change: dict[str, Any], is_light: bool, lack: Lack, why: str
) -> None:
    def never(_: AcceptConfig) -> Said:
        raise AssertionError("burnt in all the same")

    measured = measure(replace(tools, burns=never, **change), is_light=is_light)
    for name in ("memory", "product_rate", "peer_rate", "all_reduce", "power_share", "temperature"):
        assert lacks(measured)[name][0] is lack, name
        assert why in lacks(measured)[name][1]
    assert judged(measured)[("ecc_on", 0)] is Outcome.PASS
    checks = [check for check in judge(measured, Rules(gpus=2)) if check.name != "nic"]
    missing = {check.name for check in checks if check.is_wanted}
    assert ("product_rate" in missing) is (lack is Lack.UNDONE)
    # What was switched off in the inventory stands in nobody's way; all else says why it is missing.
    assert decide(checks) is (Verdict.PASS if lack is Lack.OFF else Verdict.INCOMPLETE)
    assert not [check for check in checks if "nobody said why" in check.reason]


def test_looking_only_touches_neither_disk_nor_gpus(tools: Tools) -> None:
    def never(_: int) -> tuple[int, float, bool]:
        raise AssertionError("read the disk")

    assert lacks(measure(replace(tools, read_disk=never), is_light=True))["storage_read"][0] is Lack.UNDONE


def test_a_driver_that_does_not_answer_leaves_the_gpus_unknown(tools: Tools) -> None:
    dead = replace(tools, watch=lambda: Watch(make_reader({"error": "NVML: Driver Not Loaded"})))
    measured = measure(dead)
    assert lacks(measured)["gpu_count"] == (Lack.UNREAD, "NVML: Driver Not Loaded")
    assert decide(judge(measured, Rules())) is not Verdict.PASS


def test_a_reader_that_dies_on_the_way_leaves_the_counters_unknown(tools: Tools, tmp_path: Path) -> None:
    mark, again = tmp_path / "mark", json.dumps(line())
    lives = f"import pathlib\nwhile not pathlib.Path({str(mark)!r}).exists():\n    print({again!r}, flush=True)\n"
    argv = make_reader(line(), then=f"{lives}    time.sleep(0.01)")

    def burn(config: AcceptConfig) -> Said:
        mark.touch()
        return tools.burns(config)

    found = judged(measure(replace(tools, watch=lambda: Watch(argv, silent_seconds=5), burns=burn)))
    assert found[("xids", 0)] is found[("ecc_corrected", 1)] is Outcome.UNKNOWN
    assert found[("temperature", 0)] is found[("slowdown", 1)] is Outcome.UNKNOWN


def test_a_server_that_is_meant_to_have_no_gpu_is_not_asked_for_any(tools: Tools) -> None:
    measured = measure(replace(tools, is_bare=True, watch=lambda: 1 / 0))  # type: ignore[arg-type, return-value]
    assert measured.gpus == ()
    assert {one.name for one in measured.figures} == {"gpu_count", "storage_read"}


@pytest.mark.parametrize(
    ("read", "lack"),
    [(DsopsError("the disk is full"), Lack.UNREAD), ((1 << 20, 0.01, False), Lack.OTHER)],
)
def test_a_disk_that_cannot_be_measured_says_why(tools: Tools, read: Any, lack: Lack) -> None:
    def read_disk(mib: int) -> tuple[int, float, bool]:
        if isinstance(read, DsopsError):
            raise read
        return tuple(read)  # type: ignore[return-value]

    assert lacks(measure(replace(tools, read_disk=read_disk)))["storage_read"][0] is lack


def test_a_machine_that_does_not_know_which_it_is_is_not_measured(tools: Tools, tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="cannot be read"):
        measure(replace(tools, machine=tmp_path / "none"))


def test_where_no_engine_has_pytorch_the_reason_says_what_to_set() -> None:
    said = burn_here(AcceptConfig())
    assert (said.is_broken, said.gpus) == (False, ())
    assert "accept_python" in said.why


def test_the_interface_that_has_the_servers_address_is_measured(tmp_path: Path) -> None:
    sys = make_sys(tmp_path, eth0="25000", ib0="400000")
    for addresses, speed in ((["192.168.7.11"], 400000), (["10.0.0.11", "192.168.7.11"], 25000), (["gpu1"], 25000)):
        (figure,) = measure_nic(addresses, run=says(IP), sys=sys).figures
        assert (figure.name, figure.value, figure.unit) == ("nic", speed, "Mb/s")


def test_a_link_that_is_down_fails_and_one_that_tells_no_speed_is_skipped(tmp_path: Path) -> None:
    sys = make_sys(tmp_path, eth0="-1")
    taken = measure_nic(["10.0.0.11"], run=says(IP), sys=sys)
    assert [(gap.lack, gap.why) for gap in taken.gaps] == [(Lack.OTHER, "eth0 is up and tells no speed: it is virtual")]
    (sys / "eth0/operstate").write_text("down\n")
    (figure,) = measure_nic(["10.0.0.11"], run=says(IP), sys=sys).figures
    assert (figure.value, figure.bound) == (0, 1)


@pytest.mark.parametrize("said", ["", "{", "[5]", "5"])
def test_interfaces_that_cannot_be_read_are_unknown(tmp_path: Path, said: str) -> None:
    taken = measure_nic(["10.0.0.11"], run=says(said), sys=tmp_path)
    assert [gap.lack for gap in taken.gaps] == [Lack.UNREAD]
    assert [gap.lack for gap in measure_nic([], run=says("[]", code=1), sys=tmp_path).gaps] == [Lack.UNREAD]
