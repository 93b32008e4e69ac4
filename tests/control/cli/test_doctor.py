"""`dsops doctor`, from the words typed to the exit status."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dsops.control.cli.doctor import doctor

from tests.control.doctor.sites import DEPLOYED, ROOT
from tests.control.fleet.sshd import Sshd, run_sshd


def call(*words: str) -> Result:
    return CliRunner().invoke(doctor, list(words))


def write(folder: Path, text: str) -> Path:
    (folder / "inventory").mkdir()
    path = folder / "inventory/site.py"
    path.write_text(text)
    return path


def test_problems_are_shown_and_end_with_1(tmp_path: Path) -> None:
    path = write(tmp_path, 'gpu = [("gpu1", {"gateway_prot": 1})]')
    shown = call("-i", str(path), "--root", str(ROOT))
    assert shown.exit_code == 1
    assert "unknown key 'gateway_prot'" in shown.output
    assert "did you mean gateway_port?" in shown.output
    data = json.loads(call("-i", str(path), "--root", str(ROOT), "--json").output)
    assert (data["ok"], data["exit"]) == (False, 1)
    assert any("unknown key 'gateway_prot'" in failure for failure in data["failures"])


def test_an_unreadable_inventory_ends_with_2(tmp_path: Path) -> None:
    shown = call("-i", str(write(tmp_path, "gpu = [")))
    assert shown.exit_code == 2
    assert "is not Python" in shown.output
    assert json.loads(call("-i", str(tmp_path / "none.py"), "--json").output)["exit"] == 2


def test_a_name_is_no_address_to_probe(tmp_path: Path) -> None:
    shown = call("-i", str(write(tmp_path, 'gpu = ["gpu1"]')), "--probe-egress", "example.org")
    assert shown.exit_code == 2
    assert "'example.org' is no address" in shown.output


def test_no_inventory_at_all_ends_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = call()
    assert shown.exit_code == 2
    assert "no inventory found here or above" in shown.output


def test_a_server_is_asked_once_over_ssh(tmp_path: Path) -> None:
    said = DEPLOYED.replace("end=1", "egress=open\nend=1")
    with run_sshd(Sshd(lambda _: (0, said, ""))) as sshd:
        line = f"[127.0.0.1]:{sshd.port} {sshd.host_key.get_name()} {sshd.host_key.get_base64()}\n"
        (tmp_path / "known_hosts").write_text(line)
        sshd.allowed.write_private_key_file(str(tmp_path / "key"))
        data = {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": sshd.port,
            "ssh_user": "root",
            "ssh_key": str(tmp_path / "key"),
            "ssh_known_hosts_file": str(tmp_path / "known_hosts"),
        }
        path = write(tmp_path, f"gpu = [('gpu1', {data!r})]")
        words = ("-i", str(path), "--root", str(ROOT), "--probe-egress", "192.0.2.7", "--json")
        data = json.loads(call(*words).output)
    findings = data["findings"]
    ((_, command),) = sshd.asked
    assert "/dev/tcp/192.0.2.7/443" in command
    assert "gpu1: reached 192.0.2.7:443: it is not cut off from there" in data["failures"]
    assert {"check": "system", "where": "gpu1", "status": "ok", "mend": ""}.items() <= next(
        finding.items() for finding in findings if finding["check"] == "system"
    )


@pytest.mark.live
def test_the_lab_is_well() -> None:
    shown = call("-i", str(ROOT / "inventory/lab.py"), "--json")
    data = json.loads(shown.output)
    assert [finding for finding in data["findings"] if finding["status"] not in {"ok", "skipped"}] == []
    assert shown.exit_code == 0
