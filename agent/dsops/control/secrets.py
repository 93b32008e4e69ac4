"""Makes the keys, certificates and passwords that an inventory names and that are not there yet."""

import datetime as dt
import fcntl
import os
import re
import secrets as random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import bcrypt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dsops.control.bundle.sign import ensure_key_pair
from dsops.core.errors import DsopsError
from dsops.core.keys import Key, find_key, hash_key, parse_keys

CA_DAYS, LEAF_DAYS = 3650, 398
PREFIX = "dsops-"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
NEEDED = ["dsops_ssh_key", "dsops_api_key_file", "gateway_api_keys_file"]
NEEDED += ["monitoring_users_file", "monitoring_password_file"]
LEAVES = {"lb": "nginx", "mon": "monitoring"}  # group -> the role whose keys name its certificate


@dataclass(frozen=True)
class Authority:
    """The site's internal CA: certificate and key, both PEM files."""

    cert: Path
    key: Path


def write_private(path: Path, data: bytes) -> None:
    """Writes a file that only its owner may read, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
    new.rename(path)


def ensure_authority(cert: Path, *, name: str) -> Authority:
    """Makes a CA, its key beside its certificate, unless it is there. Raises DsopsError when only its key is gone."""
    made = Authority(cert=cert, key=cert.with_name(f"{cert.stem}-key.pem"))
    if cert.exists():
        _check_key(made)
        return made
    key = ensure_ec_key(made.key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key.public_key(), days=CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    write_private(cert, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    cert.chmod(0o644)  # every client needs it
    return made


def ensure_leaf(authority: Authority, *, cert: Path, key: Path, names: Iterable[str]) -> None:
    """Makes a server's certificate, with its CA behind it, for names and addresses. Call it when `cert` is not there.

    A key that is there is used: yours, or that of a run which was cut short.
    """
    issuer = x509.load_pem_x509_certificate(authority.cert.read_bytes())
    signer, own = _load_ec_key(authority.key), ensure_ec_key(key)
    wanted = [_general_name(name) for name in dict.fromkeys(names)]
    # A common name ends at 64 characters; who checks names reads the alternative ones.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(wanted[0].value)[:64])])
    builder = _builder(subject, issuer.subject, own.public_key(), days=LEAF_DAYS)
    builder = builder.add_extension(x509.SubjectAlternativeName(wanted), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(identifier, critical=False)
    leaf = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    write_private(cert, leaf + authority.cert.read_bytes())


def ensure_ec_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The EC key in a PEM file; made when it is not there."""
    if path.exists():
        return _load_ec_key(path)
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(path, _pem(key))
    return key


def add_api_key(keys: Path, *, name: str) -> str:
    """Makes an API key, appends its salted hash to the file, and returns the key: it is shown once and kept nowhere."""
    key = PREFIX + random.token_urlsafe(32)
    append_api_key(keys, name=name, key=key)
    return key


def append_api_key(keys: Path, *, name: str, key: str) -> None:
    """Adds the salted hash of a key to the file; what is in it stays. Two at once wait for each other."""
    if not NAME.fullmatch(name):
        raise DsopsError(f"{name!r} cannot name a key", mend="use letters, digits, . _ @ and -")
    keys.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with keys.with_name(f".{keys.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = keys.read_text() if keys.exists() else "# name:salt:sha256(salt + key)\n"
        if any(one.name == name for one in read_api_keys(keys)):
            mend = "choose another name, or remove its line"
            raise DsopsError(f"there is a key named {name}", where=str(keys), mend=mend)
        line = hash_key(key, name=name, salt=random.token_bytes(16))
        write_private(keys, (held.rstrip("\n") + "\n" + line + "\n").encode())


def read_api_keys(keys: Path) -> tuple[Key, ...]:
    """The keys of a file; none when it is not there. Raises DsopsError naming file and line."""
    try:
        return parse_keys(keys.read_text()) if keys.exists() else ()
    except (OSError, ValueError) as error:
        raise DsopsError(f"cannot be read ({error})", where=str(keys)) from error
    except DsopsError as error:
        raise DsopsError(f"{error.what} ({error.where})", where=str(keys), mend=error.mend) from error


def ensure_api_key(keys: Path, plain: Path, *, name: str) -> None:
    """Makes a key for the operators' own questions (`dsops ask`) unless its file is there.

    The plain key waits as `.new` until its hash is in the file: a run that was cut short is found and ended.
    """
    if plain.exists() and keys.exists():
        return
    if plain.exists():
        raise DsopsError("the hashes of this key are gone", where=str(keys), mend=f"remove {plain} and run this again")
    new = plain.with_name(plain.name + ".new")
    if not (new.exists() and find_key(read_api_keys(keys), new.read_text().strip())):
        key = PREFIX + random.token_urlsafe(32)
        write_private(new, (key + "\n").encode())
        append_api_key(keys, name=name, key=key)
    new.rename(plain)


def ensure_users(users: Path, password: Path) -> None:
    """Makes the monitoring's users `operator` and `prometheus` with one random password unless they are there."""
    if users.exists():
        if not password.exists():
            mend = f"write the password of `prometheus` into it, or remove {users}"
            raise DsopsError("the password of these users is gone", where=str(password), mend=mend)
        return
    if not password.exists():
        write_private(password, random.token_urlsafe(24).encode())
    digest = bcrypt.hashpw(password.read_bytes().strip(), bcrypt.gensalt(10)).decode()
    write_private(users, f"operator:{digest}\nprometheus:{digest}\n".encode())


def ensure_all(values: Mapping[str, str], *, names: Mapping[str, list[str]]) -> list[Path]:
    """Makes every missing file that inventory data names; returns those that were made.

    values: the merged data of the fleet (file keys to paths). names: group -> host names and addresses.
    """
    lost = [key for key in NEEDED if key not in values]
    if lost:
        mend = "name the files in the inventory's group_data; they need not be there yet"
        raise DsopsError(f"the inventory does not name {', '.join(lost)}", mend=mend)
    wanted = [Path(path) for key, path in values.items() if key.endswith("_file") or key == "dsops_ssh_key"]
    missing = [path for path in wanted if not path.exists()]
    _ensure_leaves(values, names)
    ensure_key_pair(Path(values["dsops_ssh_key"]), comment="dsops operators")
    ensure_api_key(Path(values["gateway_api_keys_file"]), Path(values["dsops_api_key_file"]), name="operators")
    ensure_users(Path(values["monitoring_users_file"]), Path(values["monitoring_password_file"]))
    return [path for path in missing if path.exists()]


def _ensure_leaves(values: Mapping[str, str], names: Mapping[str, list[str]]) -> None:
    """The servers' certificates. A CA of ours is made only where one of them is missing."""
    for group, role in LEAVES.items():
        if f"{role}_tls_cert_file" not in values:
            continue
        cert, key = Path(values[f"{role}_tls_cert_file"]), Path(values.get(f"{role}_tls_key_file", ""))
        if f"{role}_tls_key_file" not in values or "dsops_ca_file" not in values:
            raise DsopsError(f"the inventory names {role}_tls_cert_file, but not its key or dsops_ca_file")
        if not cert.exists():
            authority = ensure_authority(Path(values["dsops_ca_file"]), name="dsops internal CA")
            ensure_leaf(authority, cert=cert, key=key, names=[*names.get(group, []), "localhost", "127.0.0.1"])
        elif not key.exists():
            mend = f"bring the key there, or remove {cert}"
            raise DsopsError("there is a certificate without its key", where=str(key), mend=mend)


def _check_key(authority: Authority) -> None:
    if not authority.key.exists():
        mend = "this CA is not ours to sign with: put the servers' certificates and keys where the inventory names them"
        raise DsopsError("the CA's key is not here", where=str(authority.key), mend=mend)


def _load_ec_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise DsopsError("not a private key without passphrase", where=str(path)) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DsopsError("not an EC key", where=str(path), mend="make the certificate with your own CA")
    return key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    # A day back: the servers' clocks need not be exact yet.
    return builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=days))


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.IPAddress | x509.DNSName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.encode("idna").decode())
    except UnicodeError as error:
        raise DsopsError("cannot stand in a certificate", where=name, mend="rename the server") from error


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
