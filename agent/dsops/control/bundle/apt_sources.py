"""Finds this machine's own Debian mirror in its apt configuration, so that no address stands in our files."""

import re
from pathlib import Path

from dsops.core.errors import DsopsError

ONE_LINE = re.compile(r"^deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)$")


def read_codename(root: Path = Path("/")) -> str:
    """The release's codename from /etc/os-release, for example `bookworm`."""
    match = re.search(r"^VERSION_CODENAME=\"?(\w+)", (root / "etc/os-release").read_text(), re.MULTILINE)
    if match is None:
        raise DsopsError("no VERSION_CODENAME", where="/etc/os-release", mend="build the bundle on Debian or Ubuntu")
    return match[1]


def find_sources(root: Path = Path("/")) -> list[str]:
    """One-line apt sources of the distribution itself, without those of third parties. Raises when there are none."""
    codename = read_codename(root)
    folder = root / "etc/apt"
    files = [folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))]
    lines: list[str] = []
    for file in files:
        if file.is_file() and file.suffix == ".list":
            lines += [line for line in file.read_text().splitlines() if _is_own(line, codename)]
        elif file.is_file() and file.suffix == ".sources":
            lines += [line for line in render_deb822(file.read_text()) if _is_own(line, codename)]
    if not lines:
        raise DsopsError(f"no apt source for {codename}", where=str(folder), mend="add the distribution's mirror")
    return lines


def render_deb822(text: str) -> list[str]:
    """The one-line form of every stanza of a .sources file."""
    lines = []
    for stanza in re.split(r"\n\s*\n", text):
        keys = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        if "deb" not in keys.get("Types", "").split() or keys.get("Enabled", "yes") == "no":
            continue
        signed = f" [signed-by={keys['Signed-By']}]" if keys.get("Signed-By", "").startswith("/") else ""
        for uri in keys.get("URIs", "").split():
            lines += [
                f"deb{signed} {uri} {suite} {keys.get('Components', '')}".rstrip() for suite in keys["Suites"].split()
            ]
    return lines


def _is_own(line: str, codename: str) -> bool:
    match = ONE_LINE.match(line.strip())
    return match is not None and re.fullmatch(rf"{codename}(-updates|-security)?", match[3]) is not None
