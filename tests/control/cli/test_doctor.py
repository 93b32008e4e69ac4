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


def test_an_unreadable_inventory_ends_with_2(tmp_path: Path) -> None:
    shown = call("-i", str(write(tmp_path, "gpu = [")))
    assert shown.exit_code == 2
    assert "is not Python" in shown.output
    assert json.loads(call("-i", str(tmp_path / "none.py"), "--json").output)["exit"] == 2


def test_no_inventory_at_all_ends_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = call()
    assert shown.exit_code == 2
    assert "no inventory found here or above" in shown.output


def test_a_server_is_asked_once_over_ssh(tmp_path: Path) -> None:
    with run_sshd(Sshd(lambda _: (0, DEPLOYED, ""))) as sshd:
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
        findings = json.loads(call("-i", str(path), "--root", str(ROOT), "--json").output)["findings"]
    assert len(sshd.asked) == 1
    assert {"check": "system", "where": "gpu1", "status": "ok", "mend": ""}.items() <= next(
        finding.items() for finding in findings if finding["check"] == "system"
    )


@pytest.mark.live
def test_the_lab_is_well() -> None:
    shown = call("-i", str(ROOT / "inventory/lab.py"), "--json")
    data = json.loads(shown.output)
    assert [finding for finding in data["findings"] if finding["status"] not in {"ok", "skipped"}] == []
    assert shown.exit_code == 0
