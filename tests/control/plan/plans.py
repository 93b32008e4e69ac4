"""Plans as the tests need them, and servers that an apply believes in."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsops.control.plan.apply import Orders, Run
from dsops.control.plan.keep import Notes
from dsops.core.dry import Certainty, Change, Detail
from dsops.core.effects import Capacity, Effect, Reboots
from dsops.core.plan import Origin, Plan, ServerPlan, Unseen, make_id
from dsops.core.waves import Member, make_waves

ORIGIN = Origin("/site", "31676f7", "8c1a100cc772", "0.1.0", "dfbe692f1be8", "/site/inventory/x.py", "c33027da5b81", ())
FILE = Detail("file", "/etc/dsops/gateway.toml", "", ("@@ -1 +1 @@", "-port = 8080", "+port = 8081"))
CONFIG = Change("gateway", "gateway: configuration", Certainty.SURE, (FILE,))
RESTART = Change(
    "gateway", "gateway: running", Certainty.FOLLOWS, (Detail("unit", "dsops-gateway.service", "restart"),)
)
HUGEPAGES = Change("system", "system: hugepages", Certainty.SURE, ())
EFFECTS = (
    Effect("gateway: configuration", (), Reboots.NEVER, Capacity.FULL, "restarts it later", "the older values"),
    Effect("gateway: running", ("dsops-gateway.service",), Reboots.NEVER, Capacity.NODE, "one by one", "the same"),
    Effect("system: hugepages", (), Reboots.ASKED, Capacity.FULL, "live after a reboot", "hugepages = 0"),
)


def make_fleet(gpus: int = 3, lbs: int = 1) -> tuple[Member, ...]:
    nodes = [Member(f"gpu{i}", "gpu", ("gpu",)) for i in range(1, gpus + 1)]
    return (*nodes, *(Member(f"lb{i}", "lb", ("lb",)) for i in range(1, lbs + 1)), Member("mon1", "mon", ("mon",)))


def make_plan(
    changes: dict[str, tuple[Change, ...]] | None = None,
    *,
    fleet: tuple[Member, ...] = make_fleet(),
    unseen: tuple[Unseen, ...] = (),
    asked: int | None = None,
    dsops: str = "0.1.0",
) -> Plan:
    """Of all gpu servers, when nothing else is said."""
    if changes is None:
        changes = {one.name: (CONFIG, RESTART) for one in fleet if one.role == "gpu"}
    hidden = {one.name for one in unseen}
    servers = tuple(
        ServerPlan(one.name, changes.get(one.name, ()), "r1", dsops) for one in fleet if one.name not in hidden
    )
    waves = make_waves(fleet, {server.name for server in servers if server.changes}, asked=asked)
    plan = Plan("", "2026-11-22 08:00:00", "me@here", ORIGIN, fleet, servers, unseen, EFFECTS, waves, asked)
    return replace(plan, id=make_id(plan))


@dataclass
class FakeDoors:
    """Servers that do as they are told. breaks: (door, server) -> why it fails there; asks: who wants a reboot."""

    serving: set[str]
    breaks: dict[tuple[str, str], str] = field(default_factory=dict)
    asks: dict[str, dict[str, str]] = field(default_factory=dict)
    dies: dict[str, set[str]] = field(default_factory=dict)
    said: list[tuple[str, ...]] = field(default_factory=list)

    def see(self) -> frozenset[str]:
        return frozenset(self.serving)

    def drain(self, name: str) -> str:
        return self._do("drain", name) or self._set(name, serves=False)

    def undrain(self, name: str) -> str:
        return self._do("undrain", name) or self._set(name, serves=True)

    def run(self, wave: Sequence[str]) -> str:
        for name in wave:
            self.serving -= self.dies.get(name, set())
        return self._do("run", *wave)

    def find_reboots(self, name: str) -> dict[str, str]:
        return self.asks.get(name, {})

    def reboot(self, name: str) -> str:
        return self._do("reboot", name)

    def verify(self, wave: Sequence[str]) -> str:
        return self._do("verify", *wave)

    def wait_well(self, wave: Sequence[str]) -> str:
        return next((self.breaks["well", name] for name in wave if ("well", name) in self.breaks), "")

    def wait_serving(self, names: Collection[str]) -> str:
        missing = sorted(set(names) - self.serving)
        return f"{', '.join(missing)} served before" if missing else ""

    def _do(self, door: str, *names: str) -> str:
        self.said.append((door, *names))
        return next((self.breaks[door, name] for name in names if (door, name) in self.breaks), "")

    def _set(self, name: str, *, serves: bool) -> str:
        self.serving = self.serving | {name} if serves else self.serving - {name}
        return ""


def make_run(
    folder: Path, plan: Plan, doors: FakeDoors, orders: Orders | None = None, *, told: list[str] | None = None
) -> Run:
    words: list[str] = [] if told is None else told
    return Run(plan, orders or Orders(), doors, Notes(plan, folder / "plan.json", who="me@here"), words.append)
