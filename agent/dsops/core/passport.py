"""A passport: what a release showed in several runs on one kind of hardware; signed, beside the release, not in its id.

A node refuses traffic to a release that does not meet its passport. Pure.
"""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256

from dsops.core.decode import decode
from dsops.core.errors import DsopsError

FORMAT, OLD = 2, 1
# So many golden prompts say enough about a release; more only take time at each proof.
FEWEST, MOST = 8, 32
LEAST_SHARE = 0.7
# Loading may take so many times as long as it did, and by so many seconds longer in any case.
MOST_LOAD, LOAD_SLACK = 3.0, 10.0
# From this share on of its bytes in the page cache, a release counts as loaded from memory, not from the disk.
CACHED = 0.5
ANEW = "make it again: `dsops release passport NODE`, then `dsops release push`"


class Policy(StrEnum):
    """Whether a release may come in without a passport for this hardware."""

    DEMANDED = "demanded"
    WHEN_THERE = "when_there"


class RunKind(StrEnum):
    """cold: after a fresh start of the slot; warm: again, without one."""

    COLD = "cold"
    WARM = "warm"


@dataclass(frozen=True)
class Hardware:
    """What a node computes with: its GPUs, or without any its CPU. cpu "" = not known, in passports of format 1."""

    gpus: tuple[str, ...] = ()
    cpu: str = ""
    cores: int = 0

    def fits(self, other: "Hardware") -> bool:
        """Whether figures of one say something about the other: equal GPUs in equal number, or one kind of CPU."""
        if self.gpus or other.gpus:
            return sorted(self.gpus) == sorted(other.gpus)
        return not (self.cpu and other.cpu) or (self.cpu, self.cores) == (other.cpu, other.cores)

    @property
    def says(self) -> str:
        """`8 x NVIDIA H100`, `AMD EPYC 9654, 96 cores`."""
        if self.gpus:
            return ", ".join(f"{self.gpus.count(name)} x {name}" for name in dict.fromkeys(self.gpus))
        return f"{self.cpu}, {self.cores} cores" if self.cpu else "a CPU"


@dataclass(frozen=True)
class Run:
    """All prompts once. tokens_per_second: None when the engine counts none.

    Only of a cold run: load_seconds, and cached, the share of the release that the page cache held before (None: not
    known).
    """

    kind: RunKind
    tokens_per_second: float | None
    load_seconds: float | None = None
    cached: float | None = None


@dataclass(frozen=True)
class Seen:
    """A right answer, and in how many runs it was given."""

    answer: str
    times: int


@dataclass(frozen=True)
class Answered:
    """The right answers that one golden prompt got; a quantised engine may give several."""

    prompt: str
    seen: tuple[Seen, ...]


@dataclass(frozen=True)
class Measurement:
    """What a node showed of a release in these runs, as its door tells it."""

    release: str
    hardware: Hardware
    engine_version: str
    runs: tuple[Run, ...]
    answers: tuple[Answered, ...]


@dataclass(frozen=True)
class Passport:
    """made_at: Unix seconds. accepted of `prompts` golden answers were right in every run.

    least_share: of the token rate that a node must reach. most_load: how many times the load time it may need.
    format 1 is read as one cold run whose answers nobody kept.
    """

    release: str
    made_at: float
    node: str
    hardware: Hardware
    engine: str
    engine_version: str
    accepted: int
    prompts: int
    runs: tuple[Run, ...]
    answers: tuple[Answered, ...]
    least_share: float = LEAST_SHARE
    most_load: float = MOST_LOAD
    format: int = FORMAT

    def render(self) -> bytes:
        """Canonical JSON, so that equal content has equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def rates(self) -> tuple[float, ...]:
        """Tokens per second of the runs that know them."""
        return tuple(run.tokens_per_second for run in self.runs if run.tokens_per_second is not None)

    @property
    def rate(self) -> float | None:
        """The median of the runs, in tokens per second."""
        return statistics.median(self.rates) if self.rates else None

    @property
    def floor(self) -> float | None:
        """The token rate that a node must reach on this hardware."""
        return None if self.rate is None else self.least_share * self.rate

    @property
    def cold_load(self) -> float | None:
        """The slowest load from the disk, in seconds."""
        return max((run.load_seconds for run in self.runs if run.load_seconds and _is_cold(run.cached)), default=None)

    @property
    def warm_load(self) -> float | None:
        """The slowest load out of the page cache, or of which nobody knows, in seconds."""
        loads = [run.load_seconds for run in self.runs if run.load_seconds is not None and not _is_cold(run.cached)]
        return max(loads, default=None)

    @property
    def load_seconds(self) -> float | None:
        """The load to expect: from the disk where that was measured."""
        return self.cold_load if self.cold_load is not None else self.warm_load

    def find_load(self, *, cached: float | None) -> float | None:
        """The slowest load that can be compared with one of which the page cache held this share; None without any."""
        return self.cold_load if _is_cold(cached) or self.warm_load is None else self.warm_load

    def find_load_bound(self, *, cached: float | None) -> float | None:
        """Seconds that loading may take then."""
        slowest = self.find_load(cached=cached)
        return None if slowest is None else max(self.most_load * slowest, slowest + LOAD_SLACK)


@dataclass(frozen=True)
class _Old:
    """Format 1: one proof."""

    release: str
    made_at: float
    node: str
    gpus: tuple[str, ...]
    engine: str
    accepted: int
    prompts: int
    load_seconds: float
    tokens_per_second: float | None
    format: int = OLD


def parse_passport(content: bytes, *, where: str) -> Passport:
    """Reads a passport of format 1 or 2. Raises DsopsError, naming the key, when it is none that can be met."""
    try:
        data = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"not a whole passport: not JSON ({error})", where=where, mend=ANEW) from error
    version = data.get("format", FORMAT) if isinstance(data, dict) else FORMAT
    if version not in (OLD, FORMAT) or type(version) is not int:
        raise DsopsError(f"passport format {version!r} is not known", where=where, mend="use a newer dsops")
    try:
        passport = _read_old(data, where=where) if version == OLD else decode(Passport, data, where=where)
        _check(passport, where=where)
    except DsopsError as error:
        raise DsopsError(error.what, where=error.where, mend=error.mend or ANEW) from error
    return passport


def make_passport(measured: Measurement, *, node: str, engine: str, made_at: float) -> Passport:
    """The passport of these runs. Raises DsopsError when they do not make one."""
    check_count(measured.release, len(measured.answers), where=node)
    passport = Passport(
        release=measured.release,
        made_at=made_at,
        node=node,
        hardware=measured.hardware,
        engine=engine,
        engine_version=measured.engine_version,
        accepted=len(measured.answers),
        prompts=len(measured.answers),
        runs=measured.runs,
        answers=measured.answers,
    )
    _check(passport, where=node)
    return passport


def check_count(release: str, count: int, *, where: str) -> None:
    """Raises DsopsError when so many golden prompts make no passport."""
    if not FEWEST <= count <= MOST:
        what = f"{release} has {count} golden prompts, a passport wants {FEWEST} to {MOST}"
        mend = "bring its prompts.json to that many, and build it again: `dsops release build`"
        raise DsopsError(what, where=where, mend=mend)


def find_fitting(passports: Iterable[Passport], hardware: Hardware) -> Passport | None:
    """The newest one that was made on such hardware."""
    fitting = [one for one in passports if one.hardware.fits(hardware)]
    return max(fitting, key=lambda one: one.made_at, default=None)


def check_passports(
    release: str, passports: Sequence[Passport], *, hardware: Hardware | None, policy: Policy
) -> Passport | None:
    """The passport that the release must meet on this hardware, None when it may come in without.

    hardware: None when nobody said. Raises DsopsError when the release may not be tried here.
    """
    if hardware is None:
        if policy is Policy.DEMANDED:
            what = f"{release} needs a passport for this hardware, and nobody said what hardware this is"
            raise DsopsError(what, mend="activate it by `dsops release activate`, or at the door of this node")
        return None
    if fitting := find_fitting(passports, hardware):
        return fitting
    mend = (
        f"`dsops release activate {release} NODE --without-passport` brings it in to make one there: "
        "`dsops release passport NODE`"
    )
    if passports:
        kinds = " and on ".join(dict.fromkeys(one.hardware.says for one in passports))
        what = f"the passport of {release} was made on {kinds}, this node has {hardware.says}"
        raise DsopsError(what, where="hardware", mend=mend)
    if policy is Policy.DEMANDED:
        what = f"{release} has no passport, and this site demands one; this node has {hardware.says}"
        mend = (
            f"`dsops release passport NODE` makes one where it serves, `dsops release push {release}` brings it; {mend}"
        )
        raise DsopsError(what, where="passport", mend=mend)
    return None


def judge_load(passport: Passport, seconds: float, *, cached: float | None) -> str:
    """Why loading took too long for this passport, "" when it did not, or nothing like it was measured."""
    bound = passport.find_load_bound(cached=cached)
    if bound is None or seconds <= bound:
        return ""
    was = passport.find_load(cached=cached)
    where = "" if cached is None else " from the disk" if _is_cold(cached) else " out of the page cache"
    says = f"its passport ({passport.node}) says {was:.1f} s, {bound:.1f} s at most"
    return f"it loaded in {seconds:.1f} s{where}; {says}"


def judge_rate(passport: Passport, rates: Sequence[float]) -> str:
    """Why these token rates are too low for this passport; "" when one of them is enough, or none was measured."""
    floor = passport.floor
    if floor is None or not rates or max(rates) >= floor:
        return ""
    told = " and ".join(f"{rate:,.0f}" for rate in rates)
    share = f"{max(rates) / (passport.rate or 1.0):.0%}"
    return (
        f"{told} tokens/s, {share} of the {passport.rate:,.0f} of its passport ({passport.node}, "
        f"{passport.hardware.says}), at least {passport.least_share:.0%} are wanted"
    )


def find_unseen(passport: Passport, given: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The prompts, of (id, right answer), that were answered as they never were when the passport was made."""
    seen = {one.prompt: {it.answer for it in one.seen} for one in passport.answers}
    return tuple(prompt for prompt, answer in given if prompt in seen and answer not in seen[prompt])


def get_key(content: bytes) -> str:
    """A short name for one passport's bytes: several lie beside one release."""
    return sha256(content).hexdigest()[:12]


def _is_cold(cached: float | None) -> bool:
    return cached is not None and cached < CACHED


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _read_old(data: object, *, where: str) -> Passport:
    old = decode(_Old, data, where=where)
    return Passport(
        release=old.release,
        made_at=old.made_at,
        node=old.node,
        hardware=Hardware(old.gpus),
        engine=old.engine,
        engine_version="",
        accepted=old.accepted,
        prompts=old.prompts,
        runs=(Run(RunKind.COLD, old.tokens_per_second, old.load_seconds),),
        answers=(),
        format=OLD,
    )


def _check(passport: Passport, *, where: str) -> None:
    """Raises DsopsError that names the first key whose value means nothing."""
    numbers = [passport.made_at, *passport.rates, *(run.load_seconds for run in passport.runs if run.load_seconds)]
    for wrong, what in (
        (not all(math.isfinite(number) for number in numbers), "a number in it is not finite"),
        (not passport.runs, "runs: there is none"),
        (passport.prompts < 1, f"prompts is {passport.prompts}: nothing was asked"),
        (
            not 0 < passport.accepted <= passport.prompts,
            f"accepted is {passport.accepted} of {passport.prompts} prompts",
        ),
        (any(rate <= 0 for rate in passport.rates), "runs: a token rate is not over 0"),
        (any((run.load_seconds or 0.0) < 0 for run in passport.runs), "runs: a load time is below 0"),
        (not 0 < passport.least_share <= 1, f"least_share is {passport.least_share:g}, no share over 0"),
        (not 1 <= passport.most_load <= 1000, f"most_load is {passport.most_load:g}, not 1 to 1000"),
    ):
        if wrong:
            raise DsopsError(what, where=where, mend=ANEW)
    if passport.format != OLD:
        _check_answers(passport, where=where)


def _check_answers(passport: Passport, *, where: str) -> None:
    count = len(passport.answers)
    names = {one.prompt for one in passport.answers}
    counts = [sum(seen.times for seen in one.seen if seen.times > 0) for one in passport.answers]
    for wrong, what in (
        (not FEWEST <= count <= MOST, f"answers: {count} prompts, a passport wants {FEWEST} to {MOST}"),
        (len(names) != count, "answers: two of them are for one prompt"),
        (passport.prompts != count, f"prompts is {passport.prompts}, and there are answers to {count}"),
        (any(n != len(passport.runs) for n in counts), f"answers: not one for each of {len(passport.runs)} runs"),
        (not (passport.hardware.gpus or passport.hardware.cpu), "hardware: neither GPU nor CPU"),
    ):
        if wrong:
            raise DsopsError(what, where=where, mend=ANEW)
