"""Keys, certificates and passwords: made once, private, never overwritten, and finished when half made."""

import subprocess
import threading
from pathlib import Path

import bcrypt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store
from dsops.control.secrets import (
    add_api_key,
    ensure_all,
    ensure_api_key,
    ensure_authority,
    ensure_leaf,
    ensure_users,
    read_api_keys,
    write_private,
)
from dsops.core.errors import DsopsError
from dsops.core.keys import find_key

NAMES = {"lb": ["lb1", "192.0.2.10"], "mon": ["mon1", "192.0.2.20"], "gpu": ["gpu1", "192.0.2.11"]}
FILES = {
    "dsops_ca_file": "ca.pem",
    "dsops_api_key_file": "operators-api-key",
    "dsops_ssh_key": "dsops_ed25519",
    "dsops_public_key_file": "dsops_ed25519.pub",
    "gateway_api_keys_file": "api-keys",
    "nginx_tls_cert_file": "lb-cert.pem",
    "nginx_tls_key_file": "lb-key.pem",
    "monitoring_users_file": "monitoring-users",
    "monitoring_password_file": "monitoring-password",
    "monitoring_tls_cert_file": "mon-cert.pem",
    "monitoring_tls_key_file": "mon-key.pem",
}
SECRET = {"dsops_api_key_file", "dsops_ssh_key", "monitoring_password_file"}


def values(folder: Path) -> dict[str, str]:
    return {key: str(folder / name) for key, name in FILES.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "secrets"
    made = ensure_all(values(folder), names=NAMES)
    assert sorted(made) == sorted(folder / name for name in FILES.values())
    return folder


def test_everything_is_private(whole: Path) -> None:
    assert whole.stat().st_mode & 0o777 == 0o700
    for file in whole.iterdir():
        mode = file.stat().st_mode & 0o777
        assert mode == 0o600 or file.name in {"ca.pem", "dsops_ed25519.pub", ".api-keys.lock"}, file


def test_what_is_there_is_never_touched(whole: Path) -> None:
    before = contents(whole)
    assert ensure_all(values(whole), names=NAMES) == []
    assert contents(whole) == before


@pytest.mark.parametrize(("prefix", "host"), [("lb", "lb1"), ("mon", "mon1")])
def test_openssl_proves_the_certificates_against_the_ca(whole: Path, prefix: str, host: str) -> None:
    argv = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(whole / "ca.pem")]
    cert = str(whole / f"{prefix}-cert.pem")
    for name in (host, "localhost", "other.example"):
        done = subprocess.run([*argv, "-verify_hostname", name, cert], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (name != "other.example"), done.stderr


def test_the_certificate_is_good_for_names_and_addresses_and_no_others(whole: Path) -> None:
    chain = x509.load_pem_x509_certificates((whole / "lb-cert.pem").read_bytes())
    assert len(chain) == 2
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["lb1", "localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.10", "127.0.0.1"]
    store = Store(x509.load_pem_x509_certificates((whole / "ca.pem").read_bytes()))
    verifier = PolicyBuilder().store(store).build_server_verifier(x509.DNSName("lb1"))
    assert verifier.verify(chain[0], [])
    other = PolicyBuilder().store(store).build_server_verifier(x509.DNSName("mon1"))
    with pytest.raises(x509.verification.VerificationError):
        other.verify(chain[0], [])


def test_key_and_certificate_belong_together(whole: Path) -> None:
    for prefix in ("lb", "mon"):
        cert = x509.load_pem_x509_certificates((whole / f"{prefix}-cert.pem").read_bytes())[0]
        key = serialization.load_pem_private_key((whole / f"{prefix}-key.pem").read_bytes(), None)
        assert cert.public_key() == key.public_key()


def test_the_api_key_works_and_stands_in_plain_text_only_where_it_is_meant_to(whole: Path) -> None:
    plain = (whole / "operators-api-key").read_text().strip()
    found = find_key(read_api_keys(whole / "api-keys"), plain)
    assert found is not None
    assert found.name == "operators"
    assert find_key(read_api_keys(whole / "api-keys"), plain + "x") is None
    holders = [name for name, data in contents(whole).items() if plain.encode() in data]
    assert holders == ["operators-api-key"]


def test_the_password_works_and_stands_in_plain_text_only_where_it_is_meant_to(whole: Path) -> None:
    password = (whole / "monitoring-password").read_bytes()
    lines = (whole / "monitoring-users").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["operator", "prometheus"]
    assert all(bcrypt.checkpw(password, line.split(":", 1)[1].encode()) for line in lines)
    assert [name for name, data in contents(whole).items() if password in data] == ["monitoring-password"]


@pytest.mark.parametrize("gone", [("lb-cert.pem",), ("ca.pem", "lb-cert.pem"), ("monitoring-users",)])
def test_a_run_that_was_cut_short_is_finished_with_what_it_had_made(tmp_path: Path, gone: tuple[str, ...]) -> None:
    folder = tmp_path / "secrets"
    ensure_all(values(folder), names=NAMES)
    before = contents(folder)
    for name in gone:
        (folder / name).unlink()
    assert sorted(ensure_all(values(folder), names=NAMES)) == sorted(folder / name for name in gone)
    after = contents(folder)
    assert all(after[name] == data for name, data in before.items() if name not in gone)
    if "lb-cert.pem" in gone:
        test_openssl_proves_the_certificates_against_the_ca(folder, "lb", "lb1")
        test_key_and_certificate_belong_together(folder)
    else:
        test_the_password_works_and_stands_in_plain_text_only_where_it_is_meant_to(folder)


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        (("lb-key.pem",), "there is a certificate without its key"),
        (("monitoring-password",), "the password of these users is gone"),
        (("api-keys",), "the hashes of this key are gone"),
        (("dsops_ed25519",), "public key without its private key"),
        (("ca-key.pem", "lb-cert.pem"), "the CA's key is not here"),
        (("operators-api-key",), "there is a key named operators"),
    ],
)
def test_what_was_lost_and_cannot_be_made_again_is_refused_and_nothing_is_overwritten(
    tmp_path: Path, gone: tuple[str, ...], says: str
) -> None:
    folder = tmp_path / "secrets"
    ensure_all(values(folder), names=NAMES)
    for name in gone:
        (folder / name).unlink()
    before = contents(folder)
    with pytest.raises(DsopsError, match=says) as caught:
        ensure_all(values(folder), names=NAMES)
    assert caught.value.mend
    assert before.items() <= contents(folder).items()


def test_a_lost_public_half_is_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    ensure_all(values(folder), names=NAMES)
    before = (folder / "dsops_ed25519.pub").read_text().split()[:2]
    (folder / "dsops_ed25519.pub").unlink()
    assert ensure_all(values(folder), names=NAMES) == [folder / "dsops_ed25519.pub"]
    assert (folder / "dsops_ed25519.pub").read_text().split()[:2] == before


def test_the_sites_own_certificates_are_used_and_no_ca_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    for name in ("lb-cert.pem", "lb-key.pem", "mon-cert.pem", "mon-key.pem"):
        write_private(folder / name, b"the site's own")
    ensure_all(values(folder), names=NAMES)
    assert (folder / "lb-cert.pem").read_bytes() == b"the site's own"
    assert not list(folder.glob("ca*"))


def test_the_ca_lies_where_the_inventory_says(tmp_path: Path) -> None:
    made = ensure_authority(tmp_path / "pki/site-root.pem", name="x")
    assert made.key == tmp_path / "pki/site-root-key.pem"
    assert made.cert.exists()
    assert made.key.exists()


def test_an_authority_key_that_is_none_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    made = ensure_authority(tmp_path / "ca.pem", name="x")
    made.key.write_text("garbage")
    with pytest.raises(DsopsError, match="not a private key"):
        ensure_leaf(made, cert=tmp_path / "c.pem", key=tmp_path / "k.pem", names=["a"])
    argv = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(made.key)]
    subprocess.run(argv, check=True, capture_output=True)
    with pytest.raises(DsopsError, match="not an EC key"):
        ensure_leaf(made, cert=tmp_path / "c.pem", key=tmp_path / "k.pem", names=["a"])
    assert not (tmp_path / "c.pem").exists()


def test_long_names_and_names_beyond_ascii_get_certificates_too(tmp_path: Path) -> None:
    long = ".".join(["a" * 30] * 4) + ".example"
    authority = ensure_authority(tmp_path / "ca.pem", name="x")
    ensure_leaf(authority, cert=tmp_path / "c.pem", key=tmp_path / "k.pem", names=[long, "bücher.example", "::1", long])
    cert = x509.load_pem_x509_certificates((tmp_path / "c.pem").read_bytes())[0]
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [long, "xn--bcher-kva.example"]
    assert isinstance(cert.public_key(), ec.EllipticCurvePublicKey)
    with pytest.raises(DsopsError, match="cannot stand in a certificate"):
        ensure_leaf(authority, cert=tmp_path / "d.pem", key=tmp_path / "e.pem", names=["ü" * 99])


def test_an_api_key_cut_short_before_its_hash_is_made_anew(tmp_path: Path) -> None:
    keys, plain = tmp_path / "api-keys", tmp_path / "plain"
    write_private(tmp_path / "plain.new", b"dsops-old\n")
    ensure_api_key(keys, plain, name="operators")
    assert plain.read_text() != "dsops-old\n"
    assert find_key(read_api_keys(keys), plain.read_text().strip())
    assert not (tmp_path / "plain.new").exists()


def test_an_api_key_cut_short_after_its_hash_is_finished(tmp_path: Path) -> None:
    keys, plain = tmp_path / "api-keys", tmp_path / "plain"
    ensure_api_key(keys, plain, name="operators")
    key, held = plain.read_text(), keys.read_text()
    plain.rename(tmp_path / "plain.new")
    ensure_api_key(keys, plain, name="operators")
    assert (plain.read_text(), keys.read_text()) == (key, held)


def test_a_revoked_key_does_not_come_back_by_itself(tmp_path: Path) -> None:
    keys, plain = tmp_path / "api-keys", tmp_path / "plain"
    ensure_api_key(keys, plain, name="operators")
    keys.write_text("# revoked\n")
    ensure_api_key(keys, plain, name="operators")
    assert keys.read_text() == "# revoked\n"


def test_keys_are_added_and_those_before_stay(tmp_path: Path) -> None:
    keys = tmp_path / "api-keys"
    first = add_api_key(keys, name="alice")
    keys.write_text(keys.read_text().rstrip("\n") + "\n# a remark without an end")
    second = add_api_key(keys, name="bob")
    held = read_api_keys(keys)
    assert [key.name for key in held] == ["alice", "bob"]
    assert [getattr(find_key(held, key), "name", None) for key in (first, second)] == ["alice", "bob"]
    assert "# a remark without an end" in keys.read_text()


@pytest.mark.parametrize("name", ["", " ", "a:b", "#a", "a\nb", "a b", "-a", "ä", "a\n"])
def test_a_name_that_would_break_the_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DsopsError, match="cannot name a key"):
        add_api_key(tmp_path / "api-keys", name=name)
    assert not (tmp_path / "api-keys").exists()


def test_a_name_is_given_once_and_a_broken_file_is_named(tmp_path: Path) -> None:
    keys = tmp_path / "api-keys"
    add_api_key(keys, name="alice")
    with pytest.raises(DsopsError, match="there is a key named alice"):
        add_api_key(keys, name="alice")
    keys.write_text("nonsense\n")
    with pytest.raises(DsopsError, match=r"api-keys: not a key line \(line 1\)"):
        add_api_key(keys, name="bob")
    assert keys.read_text() == "nonsense\n"


def test_keys_added_at_once_are_all_kept(tmp_path: Path) -> None:
    keys = tmp_path / "api-keys"
    threads = [threading.Thread(target=add_api_key, args=(keys,), kwargs={"name": f"n{i}"}) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in read_api_keys(keys)) == sorted(f"n{i}" for i in range(12))


def test_a_password_that_the_site_chose_is_used(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("the site's own\n")
    ensure_users(tmp_path / "users", tmp_path / "password")
    digest = (tmp_path / "users").read_text().splitlines()[0].split(":", 1)[1]
    assert bcrypt.checkpw(b"the site's own", digest.encode())


def test_a_file_is_private_from_its_first_byte_and_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "secret.new").write_text("left by a killed run")
    (tmp_path / "secret.new").chmod(0o644)
    write_private(tmp_path / "secret", b"x")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("key", ["dsops_ssh_key", "gateway_api_keys_file", "nginx_tls_key_file", "dsops_ca_file"])
def test_an_inventory_that_names_too_little_is_told_so(tmp_path: Path, key: str) -> None:
    named = values(tmp_path)
    del named[key]
    with pytest.raises(DsopsError, match=r"does not name|names nginx_tls_cert_file, but not its key"):
        ensure_all(named, names=NAMES)
