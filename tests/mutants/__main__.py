"""Applies each mutant to a copy of the tree, one at a time, and runs the tests that should notice it."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.catalogue import ALL
from tests.mutants.mutant import CATCHERS, ROOT, Mutant

FOLDERS = ("agent", "tests", "inventory", "roles", "deploy")
SECONDS = 240
PYTEST = ("-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-header")


@dataclass(frozen=True)
class Outcome:
    """caught: the catcher that failed, "" when the mutant survived. says: its last words."""

    mutant: str
    caught: str
    says: str
    seconds: float


class Tree:
    """A copy of the tree. A changed file gets a time of its own, so that no compiled file is taken for it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._times = count(int(time.time()) - 10_000_000, 10)
        skip = shutil.ignore_patterns("__pycache__", ".*_cache")
        for name in FOLDERS:
            shutil.copytree(ROOT / name, root / name, ignore=skip, symlinks=True)
        shutil.copy(ROOT / "pyproject.toml", root)

    def write(self, file: str, text: str) -> None:
        path, at = self.root / file, next(self._times)
        path.write_text(text)
        os.utime(path, (at, at))

    def try_catcher(self, name: str) -> tuple[bool, str]:
        """Whether it passes, and its last words."""
        words = CATCHERS[name]
        argv = [sys.executable, *words, *(PYTEST if "pytest" in words else ())]
        path = os.pathsep.join([str(self.root / "agent"), str(self.root)])
        environment = os.environ | {"PYTHONPATH": path}
        try:
            done = subprocess.run(
                argv, cwd=self.root, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return True, f"no end within {SECONDS} s"  # which says nothing
        return done.returncode == 0, find_last_words(done.stdout + done.stderr)


def find_last_words(text: str) -> str:
    """The line that says most about a failure."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("FAILED", "ERROR", "BROKEN", "WRONG", "E  "))]
    return (telling or lines or [""])[-1 if not telling else 0][:150]


def attack(tree: Tree, mutant: Mutant) -> Outcome:
    """One mutant in one tree; afterwards the tree is as before."""
    began = time.monotonic()
    text = (tree.root / mutant.file).read_text()
    tree.write(mutant.file, text.replace(mutant.old, mutant.new))
    try:
        for name in mutant.by:
            passes, says = tree.try_catcher(name)
            if not passes:
                return Outcome(mutant.name, name, says, time.monotonic() - began)
        return Outcome(mutant.name, "", "nobody noticed", time.monotonic() - began)
    finally:
        tree.write(mutant.file, text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose name has one of these")
    parser.add_argument("-j", type=int, default=2, help="how many at a time")
    args = parser.parse_args(argv)
    chosen = [one for one in ALL if not args.words or any(word in one.name for word in args.words)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dsops-mutants-") as folder:
        trees: SimpleQueue[Tree] = SimpleQueue()
        for number in range(args.j):
            trees.put(Tree(Path(folder) / str(number)))
        if not check_unharmed(trees, {name for one in chosen for name in one.by}):
            return 1
        caught = 0
        with ThreadPoolExecutor(args.j) as pool:
            for outcome in pool.map(lambda one: lend(trees, one), chosen):
                caught += bool(outcome.caught)
                word = f"caught by {outcome.caught}" if outcome.caught else "SURVIVED"
                print(f"{word:<20} {outcome.seconds:5.1f} s  {outcome.mutant}: {outcome.says}", flush=True)
    print(f"{caught}/{len(chosen)} caught in {time.monotonic() - began:.0f} s")
    return 0 if caught == len(chosen) else 1


def lend(trees: SimpleQueue[Tree], mutant: Mutant) -> Outcome:
    tree = trees.get()
    try:
        return attack(tree, mutant)
    finally:
        trees.put(tree)


def check_unharmed(trees: SimpleQueue[Tree], names: set[str]) -> bool:
    """Without a mutant every catcher passes; else it would prove nothing that they fail."""

    def try_one(name: str) -> str:
        tree = trees.get()
        try:
            passes, says = tree.try_catcher(name)
        finally:
            trees.put(tree)
        return "" if passes else f"{name} fails without any mutant: {says}"

    with ThreadPoolExecutor(trees.qsize()) as pool:
        failed = [says for says in pool.map(try_one, [name for name in CATCHERS if name in names]) if says]
    print("\n".join(failed) or f"without a mutant all {len(names)} catchers pass", flush=True)
    return not failed


if __name__ == "__main__":
    sys.exit(main())
