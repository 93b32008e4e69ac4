"""What a server's own answer tells: each judge on a good answer, and on every bad one."""

from typing import Any

import pytest
from dsops.control.doctor import server
from dsops.control.doctor.finding import Status
from dsops.control.doctor.gpus import Gpu
from dsops.control.doctor.server import JUDGES, accept, attempt, judge_patient, measure_skew
from dsops.control.doctor.site import BundleFacts

from tests.control.doctor.sites import SIZES, make_patient, make_server

OK, SKIPPED, WARNING, PROBLEM = Status.OK, Status.SKIPPED, Status.WARNING, Status.PROBLEM


T4 = tuple(Gpu(f"0000:3{n}:00.0", "1eb8", window=256 << 20, width=16, max_width=16) for n in range(2))


def test_a_deployed_gpu_server_is_well() -> None:
    found = [finding for judge in JUDGES for finding in judge(make_patient())]
    assert {finding.check for finding in found if finding.status is SKIPPED} == {"way out", "time sync"}
    assert {finding.status for finding in found} == {OK, SKIPPED}
    assert {finding.where for finding in found} == {"gpu1"}


@pytest.mark.parametrize(
    ("judge", "changes", "status", "what"),
    [
        (server.judge_system, {"system": "debian 11"}, PROBLEM, "debian 11 is not supported"),
        (server.judge_system, {"system": "unknown"}, PROBLEM, "unknown is not supported"),
        (
            server.judge_system,
            {"system": "ubuntu 24.04"},
            PROBLEM,
            "has ubuntu 24.04, and the bundle's packages are for debian 12",
        ),
        (server.judge_cpu, {"arch": "aarch64"}, PROBLEM, "is aarch64; the bundle is x86_64"),
        (server.judge_cpu, {"has_avx2": False}, PROBLEM, "has no AVX2, which engine openvino needs"),
        (server.judge_login, {"uid": 1000}, PROBLEM, "is user 1000 there, not root"),
        (server.judge_systemd, {"systemd": ""}, PROBLEM, "does not answer, should be running"),
        (server.judge_systemd, {"systemd": "starting"}, WARNING, "is still starting"),
        (server.judge_systemd, {"systemd": "degraded", "failed": ("a.service",)}, OK, "running; failed: a.service"),
        (server.judge_clock, {"now": 1090.0}, WARNING, "is 89 s ahead of this machine"),
        (server.judge_clock, {"now": 10.0}, PROBLEM, "is 990 s behind this machine"),
        (server.judge_clock, {"now": 1005.9}, OK, "within 5 s of this machine's"),
        (
            server.judge_packages,
            {"locks": (("7", "apt-get"),)},
            WARNING,
            "apt or dpkg is at work: apt-get (pid 7) has its lock open",
        ),
        (
            server.judge_packages,
            {"has_upgrades": True},
            WARNING,
            "unattended-upgrades is on: it changes packages under a running service, and holds apt's lock",
        ),
        (server.judge_gpus, {"gpus_nvml": "1"}, PROBLEM, "has 1 GPU, should have 2 (1 by the driver, none on PCI)"),
        (server.judge_gpus, {"gpus_nvml": "", "gpus": T4}, OK, "2 (no driver, 2 x T4 on PCI)"),
        (server.judge_gpus, {"gpus_nvml": ""}, PROBLEM, "has 0 GPUs, should have 2 (no driver, none on PCI)"),
        (
            server.judge_gpus,
            {"gpus_nvml": "no answer", "gpus": T4},
            PROBLEM,
            "the NVIDIA driver is there and does not answer (no answer by the driver, 2 x T4 on PCI)",
        ),
        (server.judge_network, {"routes": ()}, OK, "no default route: it cannot leave its own networks"),
    ],
)
def test_each_answer_is_judged(judge: Any, changes: dict[str, Any], status: Status, what: str) -> None:
    found = judge(make_patient(**changes))[0]
    assert (found.status, found.what) == (status, what)
    assert found.mend or status is not PROBLEM


def test_a_default_route_is_not_tried_and_says_why() -> None:
    (found,) = server.judge_network(make_patient())
    assert found.status is SKIPPED
    assert "has a default route (host0), and has no resolver" in found.what
    assert "not tried" in found.what


def test_gpus_without_a_promise_are_skipped_and_counted() -> None:
    (found,) = server.judge_gpus(make_patient(make_server()))
    assert (found.status, "2 by the driver" in found.what) == (SKIPPED, True)


def test_a_balancer_needs_neither_gpus_nor_avx2() -> None:
    lb = make_server("lb1", "lb")
    assert server.judge_gpus(make_patient(lb)) == []
    assert server.judge_cpu(make_patient(lb, has_avx2=False))[0].status is OK


def test_a_bundle_that_does_not_tell_its_system_is_no_problem() -> None:
    patient = make_patient(bundle=BundleFacts("r1", "", "0.1.0", SIZES))
    assert server.judge_system(patient)[0].what == "debian 12; the bundle does not say whether it fits"


def test_skew_is_what_the_time_of_asking_cannot_explain() -> None:
    skews = [measure_skew(make_patient(now=now).seen) for now in (1000.5, 999.0, 1003.0)]
    assert skews == [0.0, -1.0, 2.0]


def test_time_servers_make_a_wrong_clock_a_warning_for_a_deploy_mends_it() -> None:
    server_with = make_server(base_ntp_servers=["192.0.2.1"])
    assert server.judge_clock(make_patient(now=10.0))[0].status is PROBLEM
    assert server.judge_clock(make_patient(server_with, now=10.0))[0].status is WARNING


def test_a_problem_that_the_inventory_accepts_is_a_warning_on_that_server() -> None:
    bad = {"gpus_nvml": "1", "systemd": ""}
    one = make_patient(make_server(agent_gpus=2, preflight_accept=["gpus"]), **bad)
    found = {f.check: f for f in judge_patient(one)}
    assert (found["gpus"].status, found["systemd"].status) == (WARNING, PROBLEM)
    assert found["gpus"].what.endswith("(accepted: preflight_accept)")
    assert accept(make_patient(make_server(preflight_accept="gpus")), [found["systemd"]]) == [found["systemd"]]


def test_a_judge_that_fails_leaves_the_others_their_say() -> None:
    def judge() -> list[Any]:
        raise ZeroDivisionError

    assert attempt("gpus", "gpu1", judge)[0].status is Status.UNKNOWN
