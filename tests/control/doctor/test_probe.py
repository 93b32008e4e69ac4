"""The script that looks at a server, and what is made of its lines."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.control.doctor.facts import AnswerError, Disk, Facts, Seen, parse
from dsops.control.doctor.finding import Status
from dsops.control.doctor.ports import Listener
from dsops.control.doctor.probe import SCRIPT, with_login
from dsops.control.doctor.server import Patient, judge_patient

from tests.control.doctor.sites import DEPLOYED, make_facts, make_server, make_site

ANSWERS = Path(__file__).with_name("answers")


def test_a_captured_answer_is_read() -> None:
    facts = make_facts()
    assert (facts.system, facts.arch, facts.uid, facts.now) == ("debian 12", "x86_64", 0, 1000.5)
    assert (facts.memory, facts.gpus_nvml, facts.gpus) == (24684084 * 1024, "2", ())
    assert facts.disks[0] == Disk("/var/lib/dsops", "/var/lib/dsops", 8154588 * 1024, 7883276 * 1024)
    assert facts.mounts["/run/lock"] == ("rw", "nosuid", "nodev", "noexec", "relatime", "size=5120k")
    assert facts.listeners is not None
    assert facts.listeners[3] == Listener("::ffff:127.0.0.1", 8101, "tritonserver", "8953", "triton@a.service")
    assert facts.listeners[5] == Listener("127.0.0.53", 53, "systemd-resolve", "99", "systemd-resolved.service")


def test_a_bare_answer_is_read_too() -> None:
    bare = re.sub(r"(?m)^(listen|listeners|have|gpus\.nvml|mount)=.*\n", "", DEPLOYED)
    bare = bare.replace("os.ID=debian", "os.ID=").replace("os.VERSION_ID=12", "os.VERSION_ID=")
    bare = bare.replace("end=1", "lock=4711 unattended-upgr\nlisten=*:80 - - \nlisteners=yes\nend=1")
    facts = parse(bare, where="gpu1")
    assert (facts.system, facts.gpus_nvml, facts.have, facts.mounts) == ("unknown", "", (), {})
    assert facts.locks == (("4711", "unattended-upgr"),)
    assert facts.listeners == (Listener("*", 80, "", "", ""),)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "its answer was cut short"),
        (DEPLOYED[:300], "its answer was cut short"),
        (DEPLOYED.replace("now=1000.5", "now=x"), "its answer is not understood"),
        (DEPLOYED.replace("uid=0\n", ""), "its answer is not understood"),
        (DEPLOYED.replace("listen=[::]:22", "listen=x:22"), "its answer is not understood"),
    ],
)
def test_an_answer_that_is_none_is_said(text: str, what: str) -> None:
    with pytest.raises(AnswerError) as caught:
        parse(text, where="gpu1")
    assert what in caught.value.what
    assert caught.value.where == "gpu1"


def test_the_script_runs_here_and_its_answer_is_read() -> None:
    done = subprocess.run(["sh", "-c", SCRIPT.read_text()], capture_output=True, text=True, check=True, timeout=30)
    facts = parse(done.stdout, where="here")
    assert isinstance(facts, Facts)
    assert facts.memory > 0
    assert [disk.path for disk in facts.disks] == ["/var/lib/dsops", "/var/lib", "/opt/dsops"]
    assert "/" in facts.mounts


def test_the_script_is_posix_and_fits_a_command_line() -> None:
    subprocess.run([Path(sys.executable).with_name("shellcheck"), "-s", "sh", SCRIPT], check=True, timeout=60)
    assert len(SCRIPT.read_text()) < 16_000


def test_the_script_sends_and_writes_nothing() -> None:
    """On an air-gapped site an attempt to reach out is an alarm."""
    code = "\n".join(line.split("#")[0] for line in SCRIPT.read_text().splitlines())
    assert not re.search(r"\b(curl|wget|ping|nc|dig|host|getent|socat|apt-get|/dev/tcp)\b", code)
    assert set(re.findall(r">+ *([^\s&|);]+)", code)) <= {"/dev/null"}


def test_it_logs_in_as_pyinfra_does_and_not_by_the_operators_door() -> None:
    server = make_server(ssh_user="root", ssh_key="/k", dsops_ssh_key="/door")
    seen = with_login(server)
    assert (seen.data["dsops_ssh_user"], seen.data["dsops_ssh_key"]) == ("root", "/k")
    assert replace(seen, data=server.data) == server


@pytest.mark.parametrize("file", sorted(ANSWERS.glob("*.txt")), ids=lambda file: file.stem)
def test_every_recorded_answer_is_read_and_judged_without_a_bug(file: Path) -> None:
    server = make_server(agent_gpus=8)
    facts = parse(file.read_text(), where="gpu1")
    found = judge_patient(Patient(make_site(server), server, Seen(facts, facts.now, facts.now)))
    assert not [finding for finding in found if "bug of dsops" in finding.what]
    assert {"kernel", "reboot", "secure boot", "numa", "network", "gpus", "way out"} <= {one.check for one in found}


def test_a_fresh_guest_is_fit_but_for_its_gpus() -> None:
    facts = parse((ANSWERS / "debian-12-guest.txt").read_text(), where="gpu1")
    assert (facts.kernel.release, facts.kernel.virtual, facts.kernel.firmware) == ("6.1.0-56-amd64", "qemu", "bios")
    assert [nic.render() for nic in facts.nics] == [
        "enp0s2 10 Gb/s virtio_net MTU 1500",
        "enp0s3 100 Gb/s virtio_net MTU 1500",
    ]
    server = make_server(swap_gb=0)
    found = judge_patient(Patient(make_site(server), server, Seen(facts, facts.now, facts.now)))
    assert {finding.status for finding in found} == {Status.OK, Status.SKIPPED}
