"""The passports that this machine keeps beside its releases: a file for each kind of hardware, each one signed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsops.control.bundle.sign import RELEASE_NAMESPACES, SITE_NAMESPACE, verify
from dsops.control.cli.release.options import get_own
from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.push import Signed
from dsops.core.errors import DsopsError
from dsops.core.passport import Hardware, Passport, parse_passport

SLUG = 60


@dataclass(frozen=True)
class Paper:
    """One file. signer: who signed it. error: why it does not count, then nothing else of it is known for sure."""

    file: Path
    passport: Passport | None = None
    signer: str = ""
    error: DsopsError | None = None


def get_folder(fleet: Fleet) -> Path:
    """Beside the releases that are built here, never in a bundle: that would be an altered one."""
    return get_own(fleet) / "passports"


def name_file(release: str, hardware: Hardware) -> str:
    """`r0123456789ab.8-x-nvidia-h100.json`: a new one of such hardware takes the place of the last."""
    slug = re.sub(r"[^a-z0-9]+", "-", hardware.says.lower()).strip("-")[:SLUG]
    return f"{release}.{slug}.json"


def find_files(fleet: Fleet, release: str) -> list[Path]:
    """All of one release; the first name is that of an older dsops."""
    folder = get_folder(fleet)
    return sorted(folder.glob(f"{release}.json")) + sorted(folder.glob(f"{release}.*.json"))


def read_papers(fleet: Fleet, release: str, *, server: Server) -> tuple[Paper, ...]:
    """Each with its signer, or why it does not count. server: whose site's signers are asked."""
    return tuple(read_paper(fleet, server, file, release=release) for file in find_files(fleet, release))


def get_signed(papers: Sequence[Paper]) -> tuple[Signed, ...]:
    """As they travel. Raises DsopsError on the first that a node would refuse."""
    for paper in papers:
        if paper.error:
            mend = f"`dsops release passport NODE` makes it again; or take {paper.file} away"
            raise DsopsError(paper.error.what, where=paper.error.where, mend=mend)
    return tuple(Signed(one.file.read_text(), _signature(one.file).read_text()) for one in papers)


def read_paper(fleet: Fleet, server: Server, file: Path, *, release: str) -> Paper:
    """One of them; never raises."""
    try:
        namespace = server.get("bundle_namespace", str, SITE_NAMESPACE)
        signers = fleet.get_path(server, "bundle_allowed_signers")
        signer = verify(file, allowed_signers=signers, namespace=RELEASE_NAMESPACES.get(namespace, namespace))
        passport = parse_passport(file.read_bytes(), where=str(file))
        if passport.release != release:
            raise DsopsError(f"a passport for {passport.release}, not for {release}", where=str(file))
    except DsopsError as error:
        return Paper(file, error=error)
    except OSError as error:
        return Paper(file, error=DsopsError(f"cannot be read ({error.strerror})", where=str(file)))
    return Paper(file, passport, signer)


def _signature(file: Path) -> Path:
    return file.with_name(f"{file.name}.sig")
