"""GPUs divided into instances (MIG): a wanted layout, and the places where its instances lie. Pure."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dsops.core.decode import suggest
from dsops.core.errors import DsopsError

OFF = "off"
SLOTS = ("a", "b")
_PART = re.compile(r"(?:(?P<count>[1-9]) ?x ?)?(?P<profile>\d+g\.\d+gb(?:\+me)?)(?:@(?P<start>\d))?")
_BINDING = re.compile(r"(?P<gpu>\d{1,2})(?:/(?P<rank>\d))?")


@dataclass(frozen=True)
class Profile:
    """size: slices of memory. starts: where an instance may begin. most: on one GPU. id: NVML's."""

    name: str
    id: int
    size: int
    starts: tuple[int, ...]
    most: int
    memory_mib: int


@dataclass(frozen=True)
class Kind:
    """A product that can be divided. ids: its PCI device ids. slices: of memory, on one GPU."""

    name: str
    ids: tuple[str, ...]
    profiles: tuple[Profile, ...]
    slices: int = 8

    def find(self, name: str) -> Profile | None:
        """The profile of that name."""
        return next((one for one in self.profiles if one.name == name), None)

    def name_of(self, id: int) -> str:
        """What people call the profile with NVML's number."""
        return next((one.name for one in self.profiles if one.id == id), f"profile {id}")


@dataclass(frozen=True)
class Kinds:
    """The catalog's file."""

    source: str
    date: str
    kinds: tuple[Kind, ...]


@dataclass(frozen=True)
class Part:
    """One wanted instance. start: None where any place will do."""

    profile: str
    start: int | None = None


@dataclass(frozen=True, order=True)
class Place:
    """An instance that is to be: where it begins, and of which profile."""

    start: int
    profile: str


@dataclass(frozen=True)
class Binding:
    """What a slot computes on: a GPU, or the instance of this rank on it, counted by their places."""

    gpu: int
    rank: int | None = None


def parse_layout(text: str) -> tuple[Part, ...]:
    """`7x1g.10gb`, `3g.20gb, 2x2g.10gb`, `3g.20gb@4` (at that slice), or `off`. Raises DsopsError."""
    if text.strip() == OFF:
        return ()
    return tuple(part for word in text.split(",") for part in _parse_part(word.strip(), text))


def _parse_part(word: str, text: str) -> tuple[Part, ...]:
    found = _PART.fullmatch(word)
    count = int(found["count"] or 1) if found else 0
    if found is None or (found["start"] and count > 1):
        mend = 'write e.g. "7x1g.10gb", "3g.20gb, 2x2g.10gb", "3g.20gb@4" (one, at slice 4), or "off"'
        raise DsopsError(f"{word!r} is no part of a layout", where=repr(text), mend=mend)
    start = int(found["start"]) if found["start"] else None
    return (Part(found["profile"], start),) * count


def parse_layouts(texts: Sequence[str], *, gpus: int) -> tuple[tuple[Part, ...], ...]:
    """The layout of every GPU: one text is for all of them, else there is one for each. Raises DsopsError."""
    if len(texts) not in (1, gpus):
        mend = "one layout for all GPUs, or one for each in the driver's order"
        raise DsopsError(f"{len(texts)} layouts for {gpus} GPUs", where="layouts", mend=mend)
    layouts = tuple(parse_layout(text) for text in texts)
    return layouts * gpus if len(layouts) == 1 else layouts


def parse_bindings(texts: Sequence[str]) -> Mapping[str, Binding]:
    """`a: 0/1` binds slot a to GPU 0's second instance, `b: 2` to a whole GPU. Raises DsopsError."""
    bound: dict[str, Binding] = {}
    for text in texts:
        slot, _, rest = (word.strip() for word in text.partition(":"))
        found = _BINDING.fullmatch(rest)
        if slot not in SLOTS or slot in bound or not found:
            mend = 'write each slot once, e.g. ["a: 0/0", "b: 0/1"] (GPU / instance, both counted from 0)'
            raise DsopsError(f"{text!r} binds no slot", where="slots", mend=mend)
        bound[slot] = Binding(int(found["gpu"]), int(found["rank"]) if found["rank"] else None)
    if bound and set(bound) != set(SLOTS):
        missing = next(slot for slot in SLOTS if slot not in bound)
        mend = f'add "{missing}: GPU/INSTANCE": a release comes in on the slot that is free, so both need one'
        raise DsopsError(f"slot {missing} is bound to nothing", where="slots", mend=mend)
    return bound


def check_bindings(bindings: Mapping[str, Binding], layouts: Sequence[Sequence[Part]]) -> None:
    """Before anything is changed: each slot's device is one that the layouts have. Raises DsopsError."""
    if any(layouts) and not bindings:
        mend = 'bind both, e.g. ["a: 0/0", "b: 0/1"]: CUDA gives one instance to a process, and must be told which'
        raise DsopsError("no slot is bound to an instance", where="slots", mend=mend)
    for slot, binding in bindings.items():
        for problem in _find_problems(binding, layouts):
            raise DsopsError(problem, where=f"slots: {slot}", mend="GPU / instance, both counted from 0")


def _find_problems(binding: Binding, layouts: Sequence[Sequence[Part]]) -> Iterator[str]:
    if binding.gpu >= len(layouts):
        yield f"there is no GPU {binding.gpu}, there are {len(layouts)}"
        return
    count = len(layouts[binding.gpu])
    if binding.rank is None and count:
        yield f"GPU {binding.gpu} is divided, and cannot be used as a whole"
    if binding.rank is not None and binding.rank >= count:
        yield f"GPU {binding.gpu} is to have {count} instances, none has the number {binding.rank}"


# --- places ---


def find_places(kind: Kind, parts: Sequence[Part]) -> tuple[Place, ...]:
    """Where the wanted instances lie, by their begin; the same layout always the same way. Raises DsopsError."""
    asked = [(part, _get_profile(kind, part)) for part in parts]
    _check_most(kind, asked)
    taken = sum(profile.size for _, profile in asked)
    if taken > kind.slices:
        told = ", ".join(f"{name} takes {size}" for name, size in sorted({(one.name, one.size) for _, one in asked}))
        raise _refuse(kind, parts, f"it takes {taken} slices of memory, there are {kind.slices} ({told})")
    asked.sort(key=lambda one: (one[0].start is None, -one[1].size, one[1].starts, one[0].profile))
    places = _fit(asked, frozenset())
    if places is None:
        told = ", ".join(sorted({f"{one.name} may begin at {_tell_starts(one)}" for _, one in asked}))
        raise _refuse(kind, parts, f"its instances would overlap: {told}")
    return tuple(sorted(places))


def _get_profile(kind: Kind, part: Part) -> Profile:
    profile = kind.find(part.profile)
    if profile is None:
        mend = suggest(part.profile, [one.name for one in kind.profiles])
        raise DsopsError(f"{kind.name} has no profile {part.profile}", where="layout", mend=mend)
    if part.start is not None and part.start not in profile.starts:
        mend = f"it may begin at {_tell_starts(profile)}"
        raise DsopsError(f"{part.profile} cannot begin at slice {part.start} of {kind.name}", where="layout", mend=mend)
    return profile


def _check_most(kind: Kind, asked: Sequence[tuple[Part, Profile]]) -> None:
    for profile, count in Counter(profile for _, profile in asked).items():
        if count > profile.most:
            told = f"{kind.name} holds {profile.most} of {profile.name} at most, {count} are wanted"
            raise _refuse(kind, [part for part, _ in asked], told)


def _refuse(kind: Kind, parts: Sequence[Part], why: str) -> DsopsError:
    words = ", ".join(f"{count}x{name}" for name, count in Counter(part.profile for part in parts).items())
    known = ", ".join(f"{one.most}x{one.name}" for one in kind.profiles)
    return DsopsError(f"{words} does not fit {kind.name}: {why}", where="layout", mend=f"at most, each alone: {known}")


def _fit(asked: Sequence[tuple[Part, Profile]], used: frozenset[int]) -> list[Place] | None:
    """The first way that has room for all; a dozen instances at most, so all ways can be tried."""
    if not asked:
        return []
    (part, profile), *others = asked
    for start in profile.starts if part.start is None else (part.start,):
        slices = frozenset(range(start, start + profile.size))
        if slices & used:
            continue
        rest = _fit(others, used | slices)
        if rest is not None:
            return [Place(start, profile.name), *rest]
    return None


def _tell_starts(profile: Profile) -> str:
    return " ".join(map(str, profile.starts))
