"""The rules and thresholds of all checks: tables that ship with dsops, and the site's own changes to them."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from dsops.core.checks import DRAINS, Kind, Rule
from dsops.core.decode import decode, suggest
from dsops.core.errors import DsopsError

SITE = Path("/etc/dsops/checks.toml")
TABLES = ("rules.toml", "gpus.toml", "xid.toml", "sxid.toml", "kernel.toml", "host.toml", "serving.toml")
# What a table says of a rule beside its own fields: how it is found, and its thresholds.
_OTHER = ("pattern", "hint", "entity", "limits", "codes")
LATCHED = "latched"


@dataclass(frozen=True)
class Pattern:
    """How a line of the kernel's log is known. hint: a word that every such line has. entity: whose it is, or the name
    of the pattern's group that says so."""

    code: str
    pattern: str
    hint: str
    entity: str = "host"


@dataclass(frozen=True)
class Rules:
    """code -> rule; code -> name -> threshold; the kernel's lines; (kind, number) -> the code of a rule of several."""

    rules: Mapping[str, Rule]
    limits: Mapping[str, Mapping[str, float]]
    patterns: tuple[Pattern, ...]
    numbers: Mapping[tuple[str, int], str]

    def find_code(self, kind: str, number: int) -> str:
        """The rule of a driver's code, such as ("xid", 79); `xid.other` of one that nobody knows."""
        code = self.numbers.get((kind, number), f"{kind}.{number}")
        return code if code in self.rules else f"{kind}.other"


@cache
def get_shipped() -> Rules:
    """As dsops ships them."""
    folder = resources.files("dsops.node.checks") / "tables"
    data: dict[str, Any] = {}
    for name in TABLES:
        table = tomllib.loads((folder / name).read_text())
        about = table.pop("about")
        for code, row in table.items():
            data[code] = {"source": f"{about['source']} ({about['date']})"} | row
    return _read(data, where="tables")


def get_rules(path: Path = SITE) -> Rules:
    """With the site's own changes. Raises DsopsError naming the key; without the file nothing is changed."""
    shipped = get_shipped()
    try:
        changes = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return shipped
    except (OSError, ValueError) as error:
        raise DsopsError(f"cannot be read ({error})", where=str(path), mend="mend it, or remove it") from error
    return change(shipped, changes, where=str(path))


def change(shipped: Rules, changes: Mapping[str, Any], *, where: str) -> Rules:
    """The tables with what a site says otherwise, such as `["gpu.hot"] measure = "none"`."""
    rules, limits = dict(shipped.rules), dict(shipped.limits)
    for code, row in changes.items():
        if code not in rules:
            raise DsopsError(f"no check says {code!r}", where=where, mend=suggest(code, rules))
        if not isinstance(row, Mapping):
            raise DsopsError(f"should be a table, is {row!r}", where=f"{where}: {code}")
        kept = asdict(rules[code]) | {"source": where}
        told = {key: value for key, value in row.items() if key != "limits"}
        rules[code] = decode(Rule, kept | told | {"code": code}, where=f"{where}: {code}")
        limits[code] = dict(limits.get(code, {})) | _read_limits(row, known=limits.get(code), where=f"{where}: {code}")
    return replace(shipped, rules=rules, limits=limits)


def _read(data: Mapping[str, Mapping[str, Any]], *, where: str) -> Rules:
    rules, limits, patterns = {}, {}, []
    numbers: dict[tuple[str, int], str] = {}
    for code, row in data.items():
        at = f"{where}: {code}"
        rules[code] = _read_rule(code, row, where=at)
        limits[code] = _read_limits(row, known=None, where=at)
        if "pattern" in row:
            words = {key: row[key] for key in ("pattern", "hint", "entity") if key in row}
            patterns.append(decode(Pattern, words | {"code": code}, where=at))
        numbers |= {(code.partition(".")[0], number): code for number in row.get("codes", ())}
    return Rules(rules, limits, tuple(patterns), numbers)


def _read_rule(code: str, row: Mapping[str, Any], *, where: str) -> Rule:
    """An event that takes a server out of traffic lasts until its next boot, unless the table says otherwise."""
    told = {key: value for key, value in row.items() if key not in _OTHER}
    rule = decode(Rule, told | {"code": code}, where=where)
    is_lasting = rule.kind is Kind.EVENT and rule.measure in DRAINS and LATCHED not in told
    return replace(rule, latched=True) if is_lasting else rule


def _read_limits(row: Mapping[str, Any], *, known: Mapping[str, float] | None, where: str) -> dict[str, float]:
    limits = row.get("limits", {})
    for name, value in limits.items():
        if known is not None and name not in known:
            raise DsopsError(f"no threshold {name!r}", where=where, mend=suggest(name, list(known)))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DsopsError(f"should be a number, is {value!r}", where=f"{where}: limits: {name}")
    return {name: float(value) for name, value in limits.items()}


def list_fields() -> tuple[str, ...]:
    """What a site may change of a rule."""
    return tuple(one.name for one in fields(Rule) if one.name not in ("code", "source"))
