"""Watches one node from outside while a test breaks it, and tells in one line what came when."""

import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Self

from tests.live.load import Asked, Load
from tests.live.site import ADDRESSES, find_status, read_agent

EVERY = 0.05
FIELDS = ("release", "release_state", "slot", "verdict", "strikes", "ejected", "move", "halted", "condition", "phase")
ACTED = ("restart", "rollback", "halt")


@dataclass(frozen=True)
class Seen:
    """Something changed. at: Unix seconds."""

    at: float
    what: str
    value: Any


@dataclass
class Watch:
    """`with Watch("gpu2") as watch:` notes each change of the node's status and of its gateway's answer."""

    node: str
    seen: list[Seen] = field(default_factory=list)
    onset: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._work, args=(look,)) for look in (self._status, self._gateway)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def begin(self, *, at: float | None = None) -> None:
        """The fault is there since `at` (Unix seconds), or since now."""
        self.onset = time.time() if at is None else at

    def wait(self, what: str, wanted: Callable[[Any], bool], *, seconds: float, since: float = 0.0) -> float:
        """Seconds from the onset until `what` became so, `since` or later. Fails the test when it is not in time."""
        until = time.monotonic() + seconds
        while (at := self.find(what, wanted, since=since)) is None:
            assert time.monotonic() < until, f"not within {seconds:g} s: {what} of {self.node}\n{self.tell()}"
            time.sleep(EVERY)
        return at

    def find(self, what: str, wanted: Callable[[Any], bool], *, since: float = 0.0) -> float | None:
        """Seconds from the onset to the first moment, `since` (from the onset) or later, at which it was so."""
        held = [one for one in self.seen if one.what == what]
        for one, after in zip(held, [*held[1:], None], strict=False):
            is_over = after is not None and after.at <= self.onset + since
            if not is_over and wanted(one.value):
                return max(one.at - self.onset, since)
        return None

    def now(self, what: str) -> Any:
        """The newest value."""
        return next((one.value for one in reversed(self.seen) if one.what == what), None)

    def values(self, what: str) -> list[Any]:
        """All values since the onset, and the one that held then."""
        before = [one.value for one in self.seen if one.what == what and one.at < self.onset][-1:]
        return before + [one.value for one in self.seen if one.what == what and one.at >= self.onset]

    @property
    def was_refused(self) -> bool:
        """Whether its gateway refused since the onset. No answer within half a second (0) is a busy machine's too."""
        return not set(self.values("healthz")) <= {0, 200}

    def tell(self) -> str:
        """Everything, one line a change."""
        return "\n".join(f"  {one.at - self.onset:+8.2f} s  {one.what} {one.value!r}" for one in self.seen)

    def _work(self, look: Callable[[], dict[str, Any]]) -> None:
        before: dict[str, Any] = {}
        while not self._stop.wait(EVERY):
            for what, value in look().items():
                if what not in before or before[what] != value:
                    self.seen.append(Seen(time.time(), what, value))
                before[what] = value

    def _status(self) -> dict[str, Any]:
        said = find_status(self.node)
        if said is None:
            return {"agent": "silent"}
        running = {f"triton@{slot['name']}": slot["unit"] for slot in said["slots"]}
        return {"agent": "answers"} | {name: said[name] for name in FIELDS} | running

    def _gateway(self) -> dict[str, Any]:
        url = f"http://{ADDRESSES[self.node]}:9411/healthz"
        try:
            with urllib.request.urlopen(url, timeout=0.5) as answer:
                return {"healthz": answer.status}
        except urllib.error.HTTPError as error:
            return {"healthz": error.code}
        except OSError:
            return {"healthz": 0}


@dataclass(frozen=True)
class Case:
    """One line of the table: seconds from the onset, None where it did not come. test: that tells if it was right."""

    name: str
    expected: str
    found: float | None
    ejected: float | None
    acted: float | None
    admitted: float | None
    failed: int
    asked: int
    decision: str
    test: str

    def render(self, verdict: str = "") -> str:
        times = (self.found, self.ejected, self.acted, self.admitted)
        told = "".join(f"{'-' if at is None else f'{at:+.2f} s':>10}" for at in times)
        lost = f"{self.failed:>4} of {self.asked:<5}"
        return f"{self.name:<48}{self.expected:<24}{told}  {lost}  {verdict:<6} {self.decision}".rstrip()


HEAD = (
    f"{'drill':<48}{'expected':<24}{'found':>10}{'ejected':>10}{'acted':>10}{'admitted':>10}"
    f"  {'lost':<13}  {'':<6} done"
)
CASES: list[Case] = []


def render_cases(failed: Collection[str]) -> list[str]:
    """The table of all cases. failed: the tests that did not pass."""
    lines = [HEAD]
    for case in CASES:
        lines.append(case.render("WRONG" if case.test in failed else "right"))
    wrong = sum(case.test in failed for case in CASES)
    lost, asked = sum(case.failed for case in CASES), sum(case.asked for case in CASES)
    return [*lines, f"{len(CASES)} drills, {len(CASES) - wrong} right; {asked} requests, {lost} of them lost"]


def find_why(node: str) -> dict[str, Any]:
    """The node's last decision; empty when it has none."""
    try:
        return read_agent(node, "/v1/why")
    except (OSError, ValueError):
        return {}


def read_history(node: str, *, limit: int = 200) -> list[dict[str, Any]]:
    """What happened there, newest first."""
    entries: list[dict[str, Any]] = read_agent(node, f"/v1/history?limit={limit}")["entries"]
    return entries


def tell_case(
    name: str, watch: Watch, load: Load | None, *, expected: str = "", finding: dict[str, Any] | None = None
) -> Case:
    """Makes the line of a case, prints it and keeps it for the end of the run. finding: what a check found."""
    why = find_why(watch.node)
    mine = why if why and why["began"] >= watch.onset - 1 else {}
    moments = [(one["at"] - watch.onset, one["kind"], one["says"]) for one in mine.get("moments", [])]

    def first(*kinds: str) -> float | None:
        return next((at for at, kind, _ in moments if kind in kinds), None)

    out = watch.find("healthz", lambda status: status != 200)
    decision = f"{mine['action']}; {mine['blame']}: {mine['blame_says']}" if mine else "none"
    if finding:
        decision = f"{finding['measure']}; {finding['blame']}: {finding['reason']}"
    case = Case(
        name,
        expected,
        found=finding["since"] - watch.onset if finding and finding["since"] else first("bad 1"),
        ejected=min((at for at in (first("ejected"), out) if at is not None), default=None),
        acted=next((at for at, kind, _ in reversed(moments) if kind in ACTED), None),
        admitted=first("admit", "done"),
        failed=len(find_lost(load)) if load else 0,
        asked=len(load.asked) if load else 0,
        decision=decision,
        test=os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0],
    )
    CASES.append(case)
    print(f"{HEAD}\n{case.render()}")
    for at, kind, says in moments:
        print(f"{at:+9.2f} s  {kind:<9} {says}")
    return case


def find_lost(load: Load) -> list[str]:
    """Requests that got no answer. A wrong answer is an answer."""
    return [one.problem for one in load.asked if one.problem and ": said" not in one.problem]


def find_wrong(load: Load) -> list[Asked]:
    """Requests that got a wrong answer, oldest first. The model itself is wrong now and then."""
    return [one for one in load.asked if ": said" in one.problem]
