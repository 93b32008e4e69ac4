"""Finds this machine's own Debian mirror in its apt configuration, so that no address stands in our files."""

import re
from pathlib import Path

from dsops.core.errors import DsopsError

ONE_LINE = re.compile(r"deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]+)")
# What Debian and Ubuntu call their parts; a third party's own (`stable`, `nodistro`) tell it apart.
COMPONENTS = {"main", "contrib", "non-free", "non-free-firmware", "restricted", "universe", "multiverse"}
NO = {"no", "false", "without", "off", "disable", "0"}  # apt's words for it, sources.list(5)


def read_codename(root: Path = Path("/")) -> str:
    """The release's codename from /etc/os-release, for example `bookworm`."""
    return _read_os(root, "VERSION_CODENAME")


def read_system(root: Path = Path("/")) -> str:
    """The system that the packages are for, for example `debian 12`."""
    return f"{_read_os(root, 'ID')} {_read_os(root, 'VERSION_ID')}"


def _read_os(root: Path, key: str) -> str:
    file = root / "etc/os-release"
    text = file.read_text() if file.is_file() else ""
    match = re.search(rf"^{key}=[\"']?([\w.-]+)", text, re.MULTILINE)
    if match is None:
        raise DsopsError(f"no {key}", where=str(file), mend="build the bundle on Debian or Ubuntu")
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
    """The one-line form of every stanza of a .sources file that is in use."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [line for stanza in re.split(r"\n\s*\n", plain) for line in _render_stanza(_read_stanza(stanza))]


def _read_stanza(stanza: str) -> dict[str, str]:
    """The fields of a stanza, names in small letters, lines that go on joined."""
    unfolded = re.sub(r"\n[ \t]+", " ", stanza)
    pairs = re.findall(r"^([\w-]+):[ \t]*(.*)$", unfolded, re.MULTILINE)
    return {name.lower(): value.strip() for name, value in pairs}


def _render_stanza(keys: dict[str, str]) -> list[str]:
    if "deb" not in keys.get("types", "").split() or keys.get("enabled", "yes").lower() in NO:
        return []
    signed = keys.get("signed-by", "")
    options = [f"signed-by={','.join(signed.split())}"] if signed.startswith("/") else []
    options += [f"trusted={keys['trusted']}"] if "trusted" in keys else []
    options += [f"arch={','.join(keys['architectures'].split())}"] if "architectures" in keys else []
    head = f"deb [{' '.join(options)}]" if options else "deb"
    places = [(uri, suite) for uri in keys.get("uris", "").split() for suite in keys.get("suites", "").split()]
    return [f"{head} {uri} {suite} {keys.get('components', '')}".rstrip() for uri, suite in places]


def _is_own(line: str, codename: str) -> bool:
    match = ONE_LINE.match(line.strip())
    if match is None or re.fullmatch(rf"{codename}(-updates|-security)?", match[3]) is None:
        return False
    return set(match[4].split()) <= COMPONENTS
