"""Do keys and passwords fit together: API keys, the operators' SSH pair, monitoring's users?"""

from collections.abc import Callable
from pathlib import Path

import bcrypt

from dsops.control.doctor.finding import Finding, count, from_error, ok, problem
from dsops.control.doctor.site import Site
from dsops.control.fleet.ssh import read_private_key
from dsops.core.errors import DsopsError
from dsops.core.keys import find_key, parse_keys

Check = Callable[[Path, Path | None], Finding]
AGAIN = "remove both files, then `dsops secrets`"


def check_credentials(site: Site) -> list[Finding]:
    """Every set of files that some server's data names, once; check_files speaks of those that are missing."""
    return [
        *check_each(site, ("gateway_api_keys_file", "dsops_api_key_file"), check_api_keys),
        *check_each(site, ("dsops_ssh_key", "dsops_public_key_file"), check_pair),
        *check_each(site, ("monitoring_users_file", "monitoring_password_file"), check_users),
    ]


def check_each(site: Site, keys: tuple[str, str], check: Check) -> list[Finding]:
    """Hands each distinct pair of paths to `check`; a second file that is not named is None."""
    first, second = keys
    pairs: dict[tuple[Path, Path | None], None] = {}
    for server in site.fleet.servers:
        if server.data.get(first):
            other = site.fleet.get_path(server, second) if server.data.get(second) else None
            pairs[site.fleet.get_path(server, first), other] = None
    present = [(one, two if two and two.is_file() else None) for one, two in pairs if one.is_file()]
    return [check(one, two) for one, two in present]


def check_api_keys(keys: Path, plain: Path | None) -> Finding:
    """The file of hashes parses, holds a key, and knows the one that `dsops ask` uses."""
    try:
        known = parse_keys(keys.read_text())
    except (DsopsError, UnicodeDecodeError) as error:
        what = error.what if isinstance(error, DsopsError) else "is not text"
        line = getattr(error, "where", "")
        return problem("API keys", f"{keys}: {line}".rstrip(": "), what, mend="mend or remove that line")
    if not known:
        mend = f"dsops key add NAME --file {keys}"
        return problem("API keys", str(keys), "holds no key: nobody could ask anything", mend=mend)
    if plain and find_key(known, plain.read_text().strip()) is None:
        return problem("API keys", str(plain), f"holds a key that {keys.name} does not know", mend=AGAIN)
    return ok("API keys", str(keys), count(len(known), "key"))


def check_pair(private: Path, public: Path | None) -> Finding:
    """The key that goes to the servers is the one that `dsops drain` will show."""
    try:
        key = read_private_key(private)
    except DsopsError as error:
        return from_error("SSH pair", error)
    words = public.read_text().split() if public else []
    if words and (len(words) < 2 or words[1] != key.get_base64()):
        mend = f"ssh-keygen -y -f {private} > {public}"
        return problem("SSH pair", str(public), f"is not the public key of {private}", mend=mend)
    return ok("SSH pair", str(private), f"{key.get_name()}, without passphrase")


def check_users(users: Path, password: Path | None) -> Finding:
    """Prometheus must know its own password, or it cannot reach Alertmanager."""
    pairs = [line.split(":", 1) for line in users.read_text().split()]
    wrong = next((number for number, pair in enumerate(pairs, 1) if len(pair) != 2 or pair[1][:2] != "$2"), 0)
    if wrong:
        return problem(
            "monitoring's users", f"{users}:{wrong}", "not `user:bcrypt-hash`", mend="mend or remove that line"
        )
    digest = dict(pairs).get("prometheus", "")
    if not digest:
        return problem("monitoring's users", str(users), "has no user `prometheus`", mend=AGAIN)
    if password and not bcrypt.checkpw(password.read_bytes().strip(), digest.encode()):
        return problem("monitoring's users", str(password), f"is not prometheus' password in {users.name}", mend=AGAIN)
    return ok("monitoring's users", str(users), ", ".join(user for user, _ in pairs))
