"""The birth certificate of a node: what it showed, by which floors it was judged, and whether it may serve. Pure."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from dsops.core.accept.judge import Check, Outcome, Rules, Verdict, decide, judge
from dsops.core.accept.measured import Gpu, Measurement
from dsops.core.decode import decode
from dsops.core.errors import DsopsError

FORMAT = 1
KIND = "dsops node certificate"
DAY = 86400.0
ANEW = "make it again: `dsops accept NODE`"


class Demand(StrEnum):
    """Whether a node needs a certificate before a release gets traffic there (store_certificate)."""

    REQUIRED = "required"
    OFF = "off"


@dataclass(frozen=True)
class Source:
    """Whose floors one kind of GPU was judged by. floors "" = none are known."""

    gpu: str
    floors: str
    source: str = ""
    date: str = ""


@dataclass(frozen=True)
class Certificate:
    """made_at: Unix seconds. who: asked for it. forced: why it counts though it did not pass, "" = it does not.

    kind: what this is, so that no other signed paper can be taken for one.
    """

    node: str
    made_at: float
    who: str
    verdict: Verdict
    measured: Measurement
    checks: tuple[Check, ...]
    sources: tuple[Source, ...] = ()
    forced: str = ""
    kind: str = KIND
    format: int = FORMAT

    def render(self) -> bytes:
        """Canonical JSON, so that equal content has equal bytes."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()

    @property
    def uuids(self) -> tuple[str, ...]:
        return tuple(sorted(gpu.uuid for gpu in self.measured.gpus))

    @property
    def is_good(self) -> bool:
        """Whether the node may serve by it, as far as it says itself."""
        return self.verdict is Verdict.PASS or bool(self.forced)

    @property
    def failed(self) -> tuple[Check, ...]:
        """What failed, the weightiest first."""
        return tuple(one for one in self.checks if one.outcome is Outcome.FAIL)

    @property
    def missing(self) -> tuple[Check, ...]:
        """What is wanted and was not done or not read."""
        return tuple(one for one in self.checks if one.is_wanted or one.outcome is Outcome.UNKNOWN)


def certify(
    measured: Measurement, rules: Rules, *, node: str, who: str, made_at: float, forced: str = ""
) -> Certificate:
    """Judges the measurement. forced: why it shall count whatever it says; not kept where it passes anyway."""
    checks = judge(measured, rules)
    verdict = decide(checks)
    return Certificate(
        node=node,
        made_at=made_at,
        who=who,
        verdict=verdict,
        measured=measured,
        checks=checks,
        sources=_find_sources(measured.gpus, rules),
        forced="" if verdict is Verdict.PASS else forced,
    )


def parse_certificate(content: bytes, *, where: str) -> Certificate:
    """Raises DsopsError when it is none, or says one thing and shows another."""
    try:
        data = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"not a whole certificate: not JSON ({error})", where=where, mend=ANEW) from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise DsopsError("is no certificate of a node", where=where, mend=ANEW)
    if data.get("format") != FORMAT or type(data["format"]) is not int:
        raise DsopsError(
            f"certificate format {data.get('format')!r} is not known", where=where, mend="use a newer dsops"
        )
    found = decode(Certificate, data, where=where)
    if not math.isfinite(found.made_at):
        raise DsopsError("made_at is no time", where=where, mend=ANEW)
    if not found.measured.machine:
        raise DsopsError("measured: machine: is empty, so it is of no machine", where=where, mend=ANEW)
    if found.verdict is not decide(found.checks):
        raise DsopsError(f"it says {found.verdict}, and what it shows does not", where=where, mend=ANEW)
    return found


def check_usable(
    certificate: Certificate, *, uuids: Sequence[str] | None, machine: str, now: float, days: int = 0
) -> None:
    """Raises DsopsError unless the node may serve by it. uuids: of the GPUs now, None = nobody could say.

    machine: the node's /etc/machine-id. days: how old it may be; 0 = it does not expire.
    """
    where = "certificate"
    name = certificate.node
    again = f"`dsops accept {name}` measures it again"
    if not certificate.is_good:
        first = next(iter((*certificate.failed, *certificate.missing)), None)
        because = f": {first.title}: {first.reason}" if first else ""
        raise DsopsError(f"the certificate of this node says {certificate.verdict}{because}", where=where, mend=again)
    if certificate.measured.machine != machine:
        what = f"the certificate is of another machine ({certificate.measured.machine[:12]}, called {name})"
        raise DsopsError(what, where=where, mend=again)
    if uuids is None:
        mend = "`nvidia-smi -L` by hand; the GPU driver must answer"
        raise DsopsError("nobody can say which GPUs this node has now", where=where, mend=mend)
    if tuple(sorted(uuids)) != certificate.uuids:
        raise DsopsError(_tell_other_gpus(certificate.uuids, uuids), where=where, mend=again)
    age = now - certificate.made_at
    if days and age > days * DAY:
        what = f"the certificate is {age / DAY:.0f} days old, and this site says {days} at most"
        raise DsopsError(what, where=where, mend=again)


def _tell_other_gpus(then: Sequence[str], now: Sequence[str]) -> str:
    new, gone = sorted(set(now) - set(then)), sorted(set(then) - set(now))
    said = [f"{one} is new here" for one in new] + [f"{one} is gone" for one in gone]
    more = f" and {len(said) - 2} more" if len(said) > 2 else ""
    return f"the GPUs are others than when the node was accepted: {', '.join(said[:2])}{more}"


def _find_sources(gpus: Sequence[Gpu], rules: Rules) -> tuple[Source, ...]:
    kinds = {gpu.name: gpu for gpu in gpus}
    found = []
    for name, gpu in kinds.items():
        floors = rules.floors.get(gpu.id)
        found.append(Source(name, floors.name, floors.source, floors.date) if floors else Source(name, ""))
    return tuple(found)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
