"""A mutant: one small mistake in the core or the store, and which tests should notice it."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FEW = ("--whole", "2", "--some", "1", "--kills", "999", "--errors", "999", "--jobs", "1")
CUT = ("-m", "tests.crash", *FEW, "--only")
# Words for pytest, or for a module of ours. The quickest come first: the first that fails ends the mutant.
CATCHERS: dict[str, tuple[str, ...]] = {
    "sim": ("-m", "tests.sim", "--schedules", "4000", "--seed", "7", "--watched", "0"),
    "replays": ("-m", "pytest", "tests/sim/test_sim.py", "-k", "once_broke"),
    "node": ("-m", "pytest", "tests/core/test_node.py", "tests/core/test_node_shares.py"),
    "looks": ("-m", "pytest", "tests/core/test_looks.py", "tests/core/test_verdict.py"),
    "blame": ("-m", "pytest", "tests/core/test_blame.py", "tests/core/test_remedy.py"),
    "incidents": ("-m", "pytest", "tests/node/agent/test_incidents.py"),
    "journal": ("-m", "pytest", "tests/node/store/test_journal.py"),
    "errors": ("-m", "pytest", "tests/node/store/test_errors.py"),
    "helper": ("-m", "pytest", "tests/node/helper/test_server.py", "tests/node/helper/test_steps.py"),
    "shares": ("-m", "pytest", "tests/node/helper/test_shares.py"),
    # Every subset of up to two changes that wait, at every moment of one operation; `make crash` tries far more.
    "cut activate": (*CUT, "activate"),
    "cut begin": (*CUT, "begin"),
    "cut receive": (*CUT, "receive a"),
    "cut admit": (*CUT, "admit a"),
    "cut switch": (*CUT, "prove and"),
}


@dataclass(frozen=True)
class Mutant:
    """In `file` the text `old`, which is there exactly once, becomes `new`. by: names of CATCHERS, quickest first."""

    name: str
    file: str
    old: str
    new: str
    by: tuple[str, ...]

    def count(self, root: Path = ROOT) -> int:
        """How often its old text is there."""
        return (root / self.file).read_text().count(self.old)
