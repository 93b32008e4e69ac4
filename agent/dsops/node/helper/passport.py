"""The helper's part in passports: takes those in that are good, and lets no release begin without the one it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.passport import Hardware, Passport, check_passports, parse_passport
from dsops.node.helper.desk import Desk
from dsops.node.helper.request import Request
from dsops.node.helper.signature import Paper, check_signature
from dsops.node.sources.passports import check_release
from dsops.node.store.releases import Passport as Signed

SIGNS = "dsops release passport"
MOST = 64


@dataclass(frozen=True)
class Checked:
    """A passport whose signature is good, as it is written and as it is read."""

    signed: Signed
    passport: Passport


def check_brought(desk: Desk, request: Request, *, release: str) -> tuple[Checked, ...]:
    """The passports that come with a release. Raises DsopsError on the first that is not good, or not for it."""
    pairs = [_read_pair(one) for one in request.get_list("passports")] if "passports" in request.words else []
    if text := request.find_text("passport"):
        pairs.append(Signed(text, request.find_text("passport_signature")))
    if len(pairs) > MOST:
        raise DsopsError(f"{len(pairs)} passports for one release, more than {MOST}", where="passports")
    return tuple(_check(desk, one, release, where="passport") for one in pairs)


def keep(desk: Desk, brought: tuple[Checked, ...], *, release: str) -> None:
    """Beside the release. Each takes the place of older ones of such hardware, and of what nobody can read."""
    for one in brought:
        old = tuple(held for held in desk.releases.find_passports(release) if _is_outdone(held, one.passport))
        desk.releases.keep_passport(release, one.signed, instead_of=old)


def check_activation(desk: Desk, release: str, request: Request) -> None:
    """Raises DsopsError when the release has no passport that lets it be tried on this hardware.

    The word `hardware` says what that is; `without_passport`, that a person lets it in to make one.
    """
    if request.get_flag("without_passport"):
        return
    said = request.words.get("hardware")
    hardware = None if said is None else decode(Hardware, said, where="hardware")
    good, damage = find_good(desk, release)
    if damage and (hardware is None or not any(one.hardware.fits(hardware) for one in good)):
        raise damage[0]
    check_passports(release, good, hardware=hardware, policy=desk.config.passport)


def find_good(desk: Desk, release: str) -> tuple[list[Passport], list[DsopsError]]:
    """The passports that count, and what is wrong with the others."""
    good: list[Passport] = []
    damage: list[DsopsError] = []
    for held in desk.releases.find_passports(release):
        try:
            good.append(_check(desk, held, release, where=f"passports/{held.name}").passport)
        except DsopsError as error:
            damage.append(error)
    return good, damage


def tell_passports(papers: Sequence[Signed]) -> list[dict[str, Any]]:
    """For the list: of which hardware they are, or what is wrong with them. Signatures are not looked at."""
    told: list[dict[str, Any]] = []
    for held in papers:
        try:
            found = parse_passport(held.text.encode(), where=held.name)
        except DsopsError as error:
            told.append({"hardware": None, "made_at": None, "damage": str(error)})
            continue
        told.append({"hardware": vars(found.hardware), "made_at": found.made_at, "damage": ""})
    return told


def _check(desk: Desk, signed: Signed, release: str, *, where: str) -> Checked:
    content = signed.text.encode()
    paper = Paper("passport", f"{where}.sig", SIGNS)
    # Nobody reads what nobody allowed has signed.
    check_signature(content, signed.signature.encode(), config=desk.config, run=desk.run, paper=paper)
    return Checked(signed, check_release(parse_passport(content, where=where), release, where=where))


def _is_outdone(held: Signed, by: Passport) -> bool:
    try:
        found = parse_passport(held.text.encode(), where=held.name)
    except DsopsError:
        return True
    return found.hardware.fits(by.hardware) and found.made_at <= by.made_at


def _read_pair(data: object) -> Signed:
    if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in ("text", "signature")):
        raise DsopsError("should be a list of {text, signature}", where="passports")
    return Signed(data["text"], data["signature"])
