"""Whether a lockset, a server's cards and its engines can work together; the table is data. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from dsops.core.decode import suggest
from dsops.core.drivers.lockset import Flavour, Lockset, get_upstream, is_older, parse_version

# Boards of so many GPUs have NVLink switches; those of four are wired to each other.
SWITCHED = 8
# From this compute capability on the switches' subnet manager runs beside the Fabric Manager.
WITH_SUBNETS = "10.0"


@dataclass(frozen=True)
class Cuda:
    """Programs built with this release of CUDA, or a later one of its major release, run from this driver on."""

    version: str
    driver: str
    source: str
    date: str


@dataclass(frozen=True)
class Architecture:
    """ids: PCI device ids. driver: the first one that knows it, open_driver: with open modules, "" = never.

    last: the last branch that knows it, "" = none is the last yet. is_open_only: proprietary modules do not know it.
    """

    name: str
    compute: str
    driver: str
    ids: tuple[str, ...]
    source: str
    date: str
    open_driver: str = ""
    last: str = ""
    is_open_only: bool = False


@dataclass(frozen=True)
class Engine:
    """An engine or its image. cuda: what it was built with. compute: the least that it has kernels for.

    driver: the least that it asks for, "" = what CUDA asks for. also: older branches on which it runs all the same,
    each with its least driver (the image carries CUDA's forward compatibility; data center GPUs only).
    """

    name: str
    cuda: str
    compute: str
    source: str
    date: str
    driver: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rules:
    """The whole table."""

    cuda: tuple[Cuda, ...]
    architectures: tuple[Architecture, ...]
    engines: tuple[Engine, ...]


@dataclass(frozen=True)
class Cards:
    """What is in a server. ids: PCI device ids of its GPUs. with_fabric: those of boards with NVLink switches.

    switches: NVLink switches that PCI shows.
    """

    ids: tuple[str, ...] = ()
    with_fabric: int = 0
    switches: int = 0


@dataclass(frozen=True)
class Finding:
    """Something that does not go together. refuses: it cannot work; else nobody knows."""

    code: str
    says: str
    mend: str = ""
    refuses: bool = True


def check_combination(
    lockset: Lockset, rules: Rules, *, system: str = "", cards: Cards | None = None, engines: Sequence[str] = ()
) -> tuple[Finding, ...]:
    """Every reason why this cannot work, and what nobody knows. system: the server's, "" = not asked."""
    cards = cards or Cards()
    found = [*check_versions(lockset)]
    if system and system != lockset.system:
        mend = "name a lockset that was made for it; see agent/dsops/catalog/locksets.toml"
        found.append(Finding("system", f"{lockset.name} is for {lockset.system}, the server is {system}", mend))
    known = {id: one for one in rules.architectures for id in one.ids}
    for id in sorted(set(cards.ids)):
        if id not in known:
            what = f"the card 10de:{id} is in no table: nobody knows which drivers drive it"
            found.append(Finding("card", what, "add it to locksets_rules.toml", refuses=False))
    there = {known[id].name: known[id] for id in cards.ids if id in known}
    for one in there.values():
        found += check_architecture(lockset, one)
    found += check_fabric(lockset, cards, list(there.values()))
    for name in engines:
        found += check_engine(lockset, rules, name, list(there.values()))
    return tuple(found)


def check_versions(lockset: Lockset) -> list[Finding]:
    """Whether the set is one: what must have the driver's version has it."""
    found = []
    if manager := lockset.fabric_manager:
        version = get_upstream(manager.partition("=")[2])
        if version != lockset.driver:
            what = f"Fabric Manager {version} with driver {lockset.driver}: it starts with its own version only"
            found.append(Finding("fabric version", what, f"pin Fabric Manager {lockset.driver}"))
    branch = parse_version(lockset.driver)[:1]
    if lockset.persistenced and parse_version(get_upstream(lockset.persistenced.partition("=")[2]))[:1] != branch:
        what = f"{lockset.persistenced} is of another branch than driver {lockset.driver}"
        found.append(Finding("persistenced version", what, "pin that of the driver's branch"))
    if lockset.nvlsm and not lockset.fabric_manager:
        found.append(Finding("nvlsm alone", "NVLSM without the Fabric Manager that starts it", "pin both, or none"))
    return found


def check_architecture(lockset: Lockset, one: Architecture) -> list[Finding]:
    """Whether driver and flavour know this kind of card."""
    said = f"{one.name} (compute capability {one.compute})"
    if lockset.flavour is Flavour.OPEN and not one.open_driver:
        what = f"{said} has no open modules: they begin with Turing"
        return [Finding("flavour", what, "name a lockset with proprietary modules")]
    if lockset.flavour is Flavour.PROPRIETARY and one.is_open_only:
        what = f"{said} has open modules only"
        return [Finding("flavour", what, "name a lockset with open modules")]
    least = one.open_driver if lockset.flavour is Flavour.OPEN else one.driver
    if is_older(lockset.driver, least):
        what = f"{said} needs driver {least} or newer ({lockset.flavour} modules), the set has {lockset.driver}"
        return [Finding("driver", what, "name a newer lockset")]
    if one.last and parse_version(lockset.driver)[:1] > parse_version(one.last)[:1]:
        what = f"{said} was dropped after branch {one.last}, the set has {lockset.driver}"
        return [Finding("driver", what, f"name a lockset of branch {one.last} or older")]
    return []


def check_fabric(lockset: Lockset, cards: Cards, there: Sequence[Architecture]) -> list[Finding]:
    """Whether what NVLink switches need is in the set."""
    if not cards.switches and cards.with_fabric < SWITCHED:
        return []
    found = []
    if not lockset.fabric_manager:
        what = "the server has NVLink switches, and the set no Fabric Manager: CUDA would not start (error 802)"
        found.append(Finding("fabric", what, "name a lockset with the Fabric Manager"))
    has_subnets = any(not is_older(one.compute, WITH_SUBNETS) for one in there)
    if has_subnets and not lockset.nvlsm:
        what = "these NVLink switches need the subnet manager (nvlsm) too, and the set has none"
        found.append(Finding("nvlsm", what, "name a lockset with nvlsm"))
    return found


def check_engine(lockset: Lockset, rules: Rules, name: str, there: Sequence[Architecture]) -> list[Finding]:
    """Whether an engine finds a driver and cards that it can use."""
    engine = next((one for one in rules.engines if one.name == name), None)
    if engine is None:
        mend = suggest(name, [one.name for one in rules.engines])
        return [Finding("engine", f"nobody knows what the engine {name!r} needs", mend)]
    found = []
    if not is_engine_driven(lockset.driver, engine, rules):
        least = get_least_driver(engine, rules)
        others = f", or {', '.join(engine.also)} in those branches" if engine.also else ""
        what = f"{name} (CUDA {engine.cuda}) needs driver {least} or newer{others}; the set has {lockset.driver}"
        found.append(Finding("engine driver", what, "name a newer lockset, or an older engine"))
    found += [
        Finding(
            "engine card",
            f"{name} has no kernels for {one.name}: it needs compute capability {engine.compute}, it has {one.compute}",
            "serve it on newer cards, or name an older engine",
        )
        for one in there
        if is_older(one.compute, engine.compute)
    ]
    return found


def is_engine_driven(driver: str, engine: Engine, rules: Rules) -> bool:
    """Whether the driver is new enough, by itself or in a branch that the engine's image carries a bridge for."""
    if not is_older(driver, get_least_driver(engine, rules)):
        return True
    branch = parse_version(driver)[:1]
    return any(parse_version(least)[:1] == branch and not is_older(driver, least) for least in engine.also)


def get_least_driver(engine: Engine, rules: Rules) -> str:
    """Its own, else what the table says of its CUDA release: the newest entry of that major one that is not newer."""
    if engine.driver:
        return engine.driver
    wanted = parse_version(engine.cuda)
    known = {parse_version(one.version): one.driver for one in rules.cuda}
    return known[max(version for version in known if version[0] == wanted[0] and version <= wanted)]
