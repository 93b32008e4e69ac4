"""`dsops secrets`: makes what the inventory names, once, and says what it made."""

from pathlib import Path

from click.testing import CliRunner
from cryptography import x509
from dsops.control.cli.secrets import secrets
from dsops.core.errors import DsopsError

from tests.control.test_secrets import values


def write_inventory(folder: Path, data: dict[str, str]) -> Path:
    (folder / "inventory/group_data").mkdir(parents=True)
    servers = {"lb": ("lb1", "192.0.2.10"), "gpu": ("gpu1", "192.0.2.11"), "mon": ("mon1", "192.0.2.20")}
    lines = [f"{group} = [({n!r}, {{'ssh_hostname': {a!r}}})]" for group, (n, a) in servers.items()]
    (folder / "inventory/site.py").write_text("\n".join(lines) + "\n")
    text = "".join(f"{key} = {value!r}\n" for key, value in data.items())
    (folder / "inventory/group_data/all.py").write_text(text)
    return folder / "inventory/site.py"


def test_everything_is_made_once_and_said(tmp_path: Path) -> None:
    inventory = str(write_inventory(tmp_path, values(tmp_path / "secrets")))
    first = CliRunner().invoke(secrets, ["-i", inventory])
    assert first.exit_code == 0, first.exception
    assert set(first.stdout.splitlines()) == {f"made {path}" for path in values(tmp_path / "secrets").values()}
    assert CliRunner().invoke(secrets, ["-i", inventory]).stdout == "nothing was missing\n"
    cert = x509.load_pem_x509_certificates((tmp_path / "secrets/lb-cert.pem").read_bytes())[0]
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["lb1", "localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.10", "127.0.0.1"]


def test_an_inventory_that_names_no_files_is_told_so(tmp_path: Path) -> None:
    error = CliRunner().invoke(secrets, ["-i", str(write_inventory(tmp_path, {}))]).exception
    assert isinstance(error, DsopsError)
    assert "the inventory does not name dsops_ssh_key" in error.what
    assert error.mend
