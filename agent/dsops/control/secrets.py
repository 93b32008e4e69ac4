"""Makes the keys, certificates and passwords that an inventory names and that are not there yet."""

import datetime as dt
import os
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

from dsops.control.run import run
from dsops.core.errors import DsopsError
from dsops.core.keys import hash_key

CA_DAYS, LEAF_DAYS = 3650, 398
PREFIX = "dsops-"


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


def ensure_authority(folder: Path, *, name: str) -> Authority:
    """Makes a CA in `folder` unless it is there."""
    made = Authority(cert=folder / "ca.pem", key=folder / "ca-key.pem")
    if made.cert.exists() and made.key.exists():
        return made
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key.public_key(), days=CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    write_private(made.key, _pem(key))
    write_private(made.cert, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return made


def ensure_leaf(authority: Authority, *, cert: Path, key: Path, names: Iterable[str]) -> None:
    """Makes a server's certificate, with its CA behind it, for names and addresses, unless both are there."""
    if cert.exists() and key.exists():
        return
    issuer = x509.load_pem_x509_certificate(authority.cert.read_bytes())
    signer = serialization.load_pem_private_key(authority.key.read_bytes(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise DsopsError("not an EC key", where=str(authority.key), mend="make the certificate with your own CA")
    own = ec.generate_private_key(ec.SECP256R1())
    wanted = list(dict.fromkeys(names))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted[0])])
    builder = _builder(subject, issuer.subject, own.public_key(), days=LEAF_DAYS)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([_general_name(name) for name in wanted]), critical=False
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(identifier, critical=False)
    leaf = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    write_private(key, _pem(own))
    write_private(cert, leaf + authority.cert.read_bytes())


def ensure_ssh_key(key: Path, *, comment: str) -> None:
    """Makes an ed25519 key pair for the operators' door unless it is there."""
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", key])


def add_api_key(keys: Path, *, name: str) -> str:
    """Makes an API key, appends its salted hash to the file, and returns the key: it is shown once and kept nowhere."""
    held = keys.read_text() if keys.exists() else "# name:salt:sha256(salt + key)\n"
    if any(line.startswith(f"{name}:") for line in held.splitlines()):
        raise DsopsError(
            f"there is a key named {name}", where=str(keys), mend="choose another name, or remove its line"
        )
    key = PREFIX + random.token_urlsafe(32)
    line = hash_key(key, name=name, salt=random.token_bytes(16))
    write_private(keys, (held.rstrip("\n") + "\n" + line.rstrip("\n") + "\n").encode())
    return key


def ensure_api_key(keys: Path, plain: Path, *, name: str) -> None:
    """Makes a key for the operators' own questions (`dsops ask`) unless its file is there."""
    if plain.exists() and keys.exists():
        return
    if not plain.exists():
        write_private(plain, (add_api_key(keys, name=name) + "\n").encode())
        return
    raise DsopsError("the hashes of this key are gone", where=str(keys), mend=f"remove {plain} and run this again")


def ensure_users(users: Path, password: Path) -> None:
    """Makes the monitoring's users `operator` and `prometheus` with one random password unless they are there."""
    if users.exists() and password.exists():
        return
    word = random.token_urlsafe(24)
    digest = bcrypt.hashpw(word.encode(), bcrypt.gensalt(10)).decode()
    write_private(password, word.encode())
    write_private(users, f"operator:{digest}\nprometheus:{digest}\n".encode())


def ensure_all(values: Mapping[str, str], *, names: Mapping[str, list[str]]) -> list[Path]:
    """Makes every missing file that inventory data names; returns those that were made.

    values: the merged data of the fleet (file keys to paths). names: group -> host names and addresses.
    """
    wanted = [Path(path) for key, path in values.items() if key.endswith("_file") or key == "dsops_ssh_key"]
    missing = [path for path in wanted if not path.exists()]
    folder = Path(values["dsops_ca_file"]).parent
    authority = ensure_authority(folder, name="dsops internal CA")
    for group, prefix in (("lb", "nginx"), ("mon", "monitoring")):
        if f"{prefix}_tls_cert_file" in values:
            cert, key = Path(values[f"{prefix}_tls_cert_file"]), Path(values[f"{prefix}_tls_key_file"])
            ensure_leaf(authority, cert=cert, key=key, names=[*names.get(group, []), "localhost", "127.0.0.1"])
    ensure_ssh_key(Path(values["dsops_ssh_key"]), comment="dsops operators")
    ensure_api_key(Path(values["gateway_api_keys_file"]), Path(values["dsops_api_key_file"]), name="operators")
    ensure_users(Path(values["monitoring_users_file"]), Path(values["monitoring_password_file"]))
    return [path for path in missing if path.exists()]


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


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
