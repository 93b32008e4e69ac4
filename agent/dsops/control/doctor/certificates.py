"""Are the certificates good: in time, of their key, with the names that are asked for, and vouched for by the CA?"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from dsops.control.doctor.finding import Finding, ok, problem
from dsops.control.doctor.site import Site

SOON = dt.timedelta(days=14)
RENEW = "remove certificate and key, then `dsops secrets`; or have your own CA make a new one"


@dataclass(frozen=True)
class Wanted:
    """A server's certificate as the inventory names it. names: each must be in it; any_of: one of them must."""

    cert: Path
    key: Path
    ca: Path | None
    names: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()


def find_wanted(site: Site) -> list[Wanted]:
    """The balancer's and monitoring's certificates, with the names that others will ask for."""
    found: dict[Wanted, None] = {}
    for server in site.fleet.servers:
        data = server.data
        ca = site.fleet.get_path(server, "dsops_ca_file") if data.get("dsops_ca_file") else None
        own = (server.name, server.address)
        for role, names, any_of in (
            ("nginx", _service_names(data.get("dsops_endpoint"), data.get("dsops_server_name")), own),
            # Prometheus and Alertmanager reach each other as localhost.
            ("monitoring", ("localhost",), own),
        ):
            cert, key = f"{role}_tls_cert_file", f"{role}_tls_key_file"
            if site.has_role(server, role) and data.get(cert) and data.get(key):
                paths = site.fleet.get_path(server, cert), site.fleet.get_path(server, key)
                found[Wanted(*paths, ca, names, () if role == "nginx" and names else any_of)] = None
    return list(found)


def _service_names(endpoint: object, name: object) -> tuple[str, ...]:
    host = str(name or "") or (urlsplit(str(endpoint)).hostname if endpoint else "")
    return (host,) if host else ()


def check_certificates(site: Site, *, now: dt.datetime) -> list[Finding]:
    """Every certificate that is there; check_files speaks of those that are not."""
    return [finding for wanted in find_wanted(site) for finding in check_certificate(wanted, now=now)]


def check_certificate(wanted: Wanted, *, now: dt.datetime) -> list[Finding]:
    """All that is wrong with one certificate at once."""
    if not (wanted.cert.is_file() and wanted.key.is_file()):
        return []
    where = str(wanted.cert)
    try:
        chain = x509.load_pem_x509_certificates(wanted.cert.read_bytes())
    except ValueError:
        return [problem("certificates", where, "holds no PEM certificate", mend=RENEW)]
    try:
        key = serialization.load_pem_private_key(wanted.key.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        mend = "give an unencrypted PEM key"
        return [problem("certificates", str(wanted.key), "holds no private key that can be used", mend=mend)]
    leaf = chain[0]
    wrong = [*judge_time(leaf, now=now), *judge_names(leaf, wanted)]
    if _public(leaf.public_key()) != _public(key.public_key()):
        wrong.append((f"is not the certificate of the key {wanted.key}", "give the pair that belongs together"))
    wrong += judge_chain(chain, wanted.ca, now=now)
    if wrong:
        return [problem("certificates", where, what, mend=mend) for what, mend in wrong]
    days = (leaf.not_valid_after_utc - now).days
    return [ok("certificates", where, f"{days} days left, of its key, with its names, vouched for")]


def judge_time(cert: x509.Certificate, *, now: dt.datetime) -> list[tuple[str, str]]:
    """(what, mend) when it does not hold now, or not much longer."""
    start, end = cert.not_valid_before_utc, cert.not_valid_after_utc
    if now < start:
        return [(f"is good from {start:%Y-%m-%d %H:%M} UTC only", "is this machine's clock right?")]
    if now >= end:
        return [(f"expired on {end:%Y-%m-%d}", RENEW)]
    if end - now < SOON:
        return [(f"expires on {end:%Y-%m-%d}, in {(end - now).days} days", RENEW)]
    return []


def judge_names(cert: x509.Certificate, wanted: Wanted) -> list[tuple[str, str]]:
    """(what, mend) for every name or address that clients will look for in vain."""
    held = find_names(cert)
    missing = [name for name in wanted.names if not has_name(held, name)]
    if wanted.any_of and not any(has_name(held, name) for name in wanted.any_of):
        missing.append(" or ".join(wanted.any_of))
    listed = ", ".join(held) or "no name"
    return [(f"is not for {name} (it is for {listed})", RENEW) for name in missing]


def find_names(cert: x509.Certificate) -> list[str]:
    """DNS names and addresses of the subject's alternative names."""
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def has_name(held: Iterable[str], name: str) -> bool:
    """Whether a client that asks for `name` is content; `*.example` stands for one label."""
    try:
        return str(ip_address(name)) in held
    except ValueError:
        lower = name.lower()
        return any(lower == one.lower() or _is_under(one.lower(), lower) for one in held)


def judge_chain(chain: Sequence[x509.Certificate], ca: Path | None, *, now: dt.datetime) -> list[tuple[str, str]]:
    """(what, mend) unless the file's own chain leads to the CA. Without a CA file the system's are meant."""
    if ca is None or not ca.is_file():
        return []
    try:
        roots = x509.load_pem_x509_certificates(ca.read_bytes())
    except ValueError:
        return [(f"{ca} holds no PEM certificate", "mend dsops_ca_file")]
    old = [root for root in roots if root.not_valid_after_utc <= now]
    if old:
        return [(f"the CA in {ca} expired on {old[0].not_valid_after_utc:%Y-%m-%d}", "make a new CA and certificates")]
    at = chain[0]
    for _ in range(len(chain) + 1):
        if any(at == root or _is_issued(at, root) for root in roots):
            return []
        at = next((one for one in chain if one != at and _is_issued(at, one)), at)
    mend = f"put the CA that made it into {ca}, and those between into the certificate's file"
    return [(f"no chain leads from it to the CA in {ca}", mend)]


def _is_issued(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_under(pattern: str, name: str) -> bool:
    return pattern.startswith("*.") and "." in name and name.split(".", 1)[1] == pattern[2:]


def _public(key: object) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.DER, form)  # type: ignore[attr-defined,no-any-return]
