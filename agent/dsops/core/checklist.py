"""What a node's checks saw last, as it goes over the wire: the agent serves it, `dsops doctor NODE` reads it. Pure."""

import json
from dataclasses import asdict, dataclass

from dsops.core.baseline import Baseline, Number
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.maintenance import Maintenance
from dsops.core.status import Blame, Measure, Verdict

VERSION = 1


@dataclass(frozen=True)
class Item:
    """One code on one entity. verdict: of its last look.

    since: since when it is a finding, None: it is none. streak of needed: BAD samples in a row, and how many make a
    finding. measure: what it asks for, or would. source: where its rule comes from. held: why nothing is done about it.
    """

    code: str
    entity: str
    verdict: Verdict
    value: float | None = None
    limit: float | None = None
    reason: str = ""
    mend: str = ""
    measure: Measure = Measure.NONE
    blame: Blame = Blame.UNKNOWN
    since: float | None = None
    streak: int = 0
    needed: int = 1
    source: str = ""
    held: str = ""

    @property
    def is_finding(self) -> bool:
        """Whether it counts: one BAD sample may be too few, and what is latched outlasts an OK one."""
        return self.since is not None or (self.verdict is Verdict.BAD and self.streak >= self.needed)


@dataclass(frozen=True)
class CheckSeen:
    """One check. codes: all that it may say. at: when it looked last, Unix seconds, None: not yet.

    skipped: why it does not apply here, "" when it does.
    """

    name: str
    codes: tuple[str, ...]
    at: float | None = None
    skipped: str = ""
    items: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Checklist:
    """All checks of one node at `at` (Unix seconds). normal: what `dsops baseline --freeze` would keep now."""

    node: str
    boot_id: str
    at: float
    checks: tuple[CheckSeen, ...]
    normal: tuple[Number, ...] = ()
    baseline: Baseline | None = None
    maintenance: Maintenance | None = None
    version: int = VERSION

    def to_json(self) -> str:
        """One JSON object, keys as the fields are named."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @staticmethod
    def from_json(text: str | bytes, *, where: str) -> "Checklist":
        """Raises DsopsError, naming the key, on anything that is no checklist of this version."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise DsopsError(f"no JSON ({error})", where=where, mend="is this dsops-agent's port?") from error
        version = data.get("version") if isinstance(data, dict) else None
        if version != VERSION:
            what = f"checks of version {version!r}, this dsops reads {VERSION}"
            raise DsopsError(what, where=where, mend="the same dsops version here and there: `dsops deploy`")
        return decode(Checklist, data, where=where)

    @property
    def items(self) -> tuple[Item, ...]:
        """Of all checks."""
        return tuple(item for check in self.checks for item in check.items)
