"""What Triton loads in a release that was made to fail: the openvino engine, with ills. See README.md."""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from openvino_engine import backend
from openvino_engine.pipeline import OpenVinoPipeline

TRIGGER = Path(os.environ.get("CACHE_DIRECTORY", "/nonexistent"), "ill")
NAMES = ("wrong_after", "crash_after", "load_sleep", "crash_in_load", "slow_factor", "fail_every", "fail_after")
# Another text of the same length, with the tags of the reasoning whole: wrong, and nothing but the text tells.
WRONG = str.maketrans("0123456789abcdefg", "1234567890bcdefga")
CRASHED = 70
LOOK_S = 0.05


@dataclass
class Ills:
    """What is wrong with this release: `settings` from the start, a trigger's words from outside at any time."""

    settings: Mapping[str, int]
    trigger: Path = TRIGGER
    requests: int = 0
    taken: int = 0
    _kept: list[str] = field(default_factory=list)
    _stalled: bool = False

    def load(self) -> None:
        time.sleep(self.settings.get("load_sleep", 0))
        if self.settings.get("crash_in_load"):
            raise RuntimeError("this release was made to fail while it loads")

    def count(self, requests: int) -> None:
        self.requests += requests
        if 0 < self.settings.get("crash_after", 0) < self.requests:
            os._exit(CRASHED)

    def is_failing(self) -> bool:
        """Whether the request that is taken now fails; to be asked once of each."""
        self.taken += 1
        kind, words = self._read()
        if kind == "fail":
            return self.taken % int((words or ["1"])[0]) == 0
        every = self.settings.get("fail_every", 0)
        return bool(every) and self.taken > self.settings.get("fail_after", 0) and self.taken % every == 0

    def block(self) -> None:
        """Returns when a step may be done: never while the engine is wedged, once more when it stalls."""
        while self._is_blocked():
            time.sleep(LOOK_S)

    def find_factor(self) -> int:
        """How many times as long as it should a step takes."""
        kind, words = self._read()
        told = [int(word) for word in words if word.isdigit()]
        return (told or [10])[0] if kind == "slow" else self.settings.get("slow_factor", 1)

    def is_wrong(self) -> bool:
        return self._read()[0] == "wrong" or 0 < self.settings.get("wrong_after", 0) < self.requests

    def is_empty(self) -> bool:
        """Whether answers have no text."""
        return self._read()[0] == "empty"

    def is_deaf(self) -> bool:
        """Whether it does not end when it is asked to."""
        return self._read()[0] == "deaf"

    def _is_blocked(self) -> bool:
        kind, _ = self._read()
        before, self._stalled = self._stalled, kind == "stall"
        return kind == "wedge" or (kind == "stall" and before)

    def _read(self) -> tuple[str, list[str]]:
        """The trigger's kind and its further words. `once`: the next process does not find it any more."""
        if self._kept:
            return self._kept[0], self._kept[1:]
        try:
            words = self.trigger.read_text().split()
        except OSError:
            return "", []
        if "once" in words:
            self._kept = words
            with suppress(OSError):
                self.trigger.unlink()
        return (words[0], words[1:]) if words else ("", [])


class IllPipeline(OpenVinoPipeline):
    """Steps and decodes as the ills want it."""

    def __init__(self, checkpoint: Path, settings: Any, *, ills: Ills) -> None:
        super().__init__(checkpoint, settings)
        self._ills = ills

    def step(self) -> None:
        self._ills.block()
        since, worked_before = time.monotonic(), time.process_time()
        super().step()
        took, worked = time.monotonic() - since, time.process_time() - worked_before
        # As many times what it computed, not what it waited for a processor: on a busy machine steps of 20 ms were
        # seen to take 0.55 s, and ten times that is what every rule for a hang calls one.
        time.sleep(min(took, worked) * (self._ills.find_factor() - 1))

    def decode(self, windows: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        texts = super().decode(windows, skip_special_tokens=skip_special_tokens)
        if self._ills.is_empty():
            return [""] * len(texts)
        return [text.translate(WRONG) for text in texts] if self._ills.is_wrong() else texts


class TritonPythonModel(backend.TritonPythonModel):
    """The healthy one, around an ill pipeline."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"]).get("parameters", {})
        self._ills = Ills({name: int(parameters[name]["string_value"]) for name in NAMES if name in parameters})
        self._ills.load()
        backend.OpenVinoPipeline = partial(IllPipeline, ills=self._ills)
        super().initialize(args)

    def execute(self, requests: list[Any]) -> None:
        self._ills.count(len(requests))
        super().execute(requests)

    def finalize(self) -> None:
        while self._ills.is_deaf():
            time.sleep(LOOK_S)
        super().finalize()

    def _take(self, request: Any, reply: Any) -> None:
        if self._ills.is_failing():
            raise RuntimeError("this release was made to fail now and then")
        super()._take(request, reply)
