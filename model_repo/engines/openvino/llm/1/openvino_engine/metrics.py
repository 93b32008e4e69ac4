"""Shows the counters on Triton's /metrics, from a thread of its own: also while the engine idles or hangs."""

import threading
from dataclasses import asdict
from typing import Any

import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

from openvino_engine.counters import Counters

LABELS = {"engine": "openvino"}
PERIOD_S = 0.25
TOTALS = {
    "generated_tokens": "Tokens generated",
    "prefilled_tokens": "Prompt tokens computed",
    "iterations": "Steps of the engine",
}
LEVELS = {"running": "Requests that step together now", "waiting": "Requests that wait for a place"}


class Publisher:
    """Pushes what has changed to Triton, four times a second."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._shown = Counters()
        self._metrics = {name: _make(f"dsops_engine_{name}_total", text, "COUNTER") for name, text in TOTALS.items()}
        self._metrics |= {name: _make(f"dsops_engine_{name}", text, "GAUGE") for name, text in LEVELS.items()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._publish()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self._publish()

    def _publish(self) -> None:
        now = Counters(**asdict(self._counters))
        for name in TOTALS:
            grown = getattr(now, name) - getattr(self._shown, name)
            if grown:
                self._metrics[name][1].increment(grown)
        for name in LEVELS:
            if getattr(now, name) != getattr(self._shown, name):
                self._metrics[name][1].set(getattr(now, name))
        self._shown = now


def _make(name: str, text: str, kind: str) -> tuple[Any, Any]:
    """The family too: Triton forgets a metric when its family is collected."""
    family = pb_utils.MetricFamily(name=name, description=text, kind=getattr(pb_utils.MetricFamily, kind))
    return family, family.Metric(labels=LABELS)
