"""A slot's phase, from its unit and what its ports answer."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from dsops.core.status import Phase
from dsops.node.sources.host import parse_uptime, read_host
from dsops.node.sources.http import Answer, Failure
from dsops.node.sources.slots import (
    Ports,
    SlotAnswers,
    judge_phase,
    judge_slot,
    read_lane_slot,
    read_slot,
    read_slot_release,
)
from dsops.node.sources.units import Unit

from tests.node.sources.server import Canned, serve

REFUSED = Answer(0, failure=Failure.REFUSED, reason="connection refused")
TIMEOUT = Answer(0, failure=Failure.TIMEOUT, reason="no answer in 0.8 s")
OK, NOT_READY = Answer(200), Answer(400)


def unit(active: str) -> Unit:
    return Unit("triton@a.service", active, sub="x", result="signal" if active == "failed" else "success")


@pytest.mark.parametrize(
    ("active", "live", "ready", "phase"),
    [
        ("active", OK, OK, Phase.SERVING),
        ("unknown", OK, OK, Phase.SERVING),
        ("active", OK, NOT_READY, Phase.LOADING),
        ("active", NOT_READY, NOT_READY, Phase.LOADING),
        ("activating", REFUSED, REFUSED, Phase.LOADING),
        ("active", REFUSED, REFUSED, Phase.LOADING),
        ("active", TIMEOUT, TIMEOUT, Phase.UNKNOWN),
        ("unknown", REFUSED, REFUSED, Phase.UNKNOWN),
        ("inactive", REFUSED, REFUSED, Phase.STOPPED),
        ("failed", REFUSED, REFUSED, Phase.STOPPED),
        ("missing", REFUSED, REFUSED, Phase.STOPPED),
        # The unit stops: what still answers on its port is on its way out.
        ("deactivating", OK, OK, Phase.STOPPED),
    ],
)
def test_the_phase_follows_from_unit_and_ports(active: str, live: Answer, ready: Answer, phase: Phase) -> None:
    found, reason = judge_phase(unit(active), live, ready)
    assert found is phase
    assert bool(reason) == (phase is not Phase.SERVING)


def test_progress_comes_from_the_slots_metrics() -> None:
    page = b'dsops_engine_generated_tokens_total{engine="openvino"} 7\ndsops_engine_running 2\n'
    answers = SlotAnswers(OK, OK, Answer(200, page))
    slot = judge_slot("a", release="r1", unit=unit("active"), answers=answers)
    assert (slot.generated_tokens, slot.running, slot.waiting) == (7.0, 2.0, None)


def test_dead_metrics_are_unknown_not_zero() -> None:
    slot = judge_slot("a", release="r1", unit=unit("active"), answers=SlotAnswers(OK, OK, TIMEOUT))
    assert slot.generated_tokens is None


def test_a_slot_is_read_from_its_three_addresses_at_once() -> None:
    asked = threading.Barrier(3)

    def after_all(body: bytes) -> Callable[[], bytes]:
        def answer() -> bytes:
            asked.wait(10)
            return body

        return answer

    answers = {"/v2/health/live": (200, b""), "/v2/health/ready": (400, b""), "/metrics": (200, b"x 1\n")}
    with serve(Canned({path: (code, after_all(body)) for path, (code, body) in answers.items()})) as canned:
        seen = asyncio.run(read_slot(Ports("a", canned.port, canned.port), timeout=20))
    assert (seen.live.status, seen.ready.status, seen.metrics.body) == (200, 400, b"x 1\n")


def test_links_name_the_release_and_the_stable_slot(tmp_path: Path) -> None:
    for folder in ("slots", "lanes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "slots/a").symlink_to("../releases/r0123456789ab")
    (tmp_path / "lanes/l50").symlink_to("../slots/a")
    (tmp_path / "slots/b").mkdir()
    assert read_slot_release(tmp_path, "a") == "r0123456789ab"
    assert read_lane_slot(tmp_path, "l50") == "a"
    assert read_slot_release(tmp_path, "b") == ""
    assert read_lane_slot(tmp_path, "l20") == ""


def test_the_host_is_read_below_a_root(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("abc\n")
    (tmp_path / "proc/uptime").write_text("12.5 20.0\n")
    assert (read_host(tmp_path).boot_id, read_host(tmp_path).uptime_seconds) == ("abc", 12.5)
    assert read_host(tmp_path / "none").uptime_seconds is None
    assert parse_uptime("soon") is None
