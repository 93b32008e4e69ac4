"""Watches the GPUs through a child that samples them, so that a driver that hangs is seen and stops nothing."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from dsops.node.accept.samples import Sample, parse_sample

ARGV = (sys.executable, "-m", "dsops.node.accept.gpu_child")
# A whole sweep of eight GPUs takes some milliseconds; one that waits so long does not come.
SILENT_SECONDS = 15.0


class Watch:
    """`with Watch() as watch`: samples arrive until its end. Nothing in it waits longer than SILENT_SECONDS."""

    def __init__(self, argv: Sequence[str] = ARGV, *, silent_seconds: float = SILENT_SECONDS) -> None:
        self._argv, self._silent_seconds = argv, silent_seconds
        self._samples: list[Sample] = []
        self._news = threading.Condition()
        self._ended = False

    def __enter__(self) -> "Watch":
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(list(self._argv), stdin=pipe, stdout=pipe)
        threading.Thread(target=self._listen, daemon=True, name="GPU samples").start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin
        with suppress(OSError):
            self._child.stdin.close()
        try:
            self._child.wait(1.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            # One that is stuck inside the driver cannot be killed; it is left to end by itself.
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(1.0)

    @property
    def count(self) -> int:
        """Samples so far."""
        with self._news:
            return len(self._samples)

    def get_since(self, count: int) -> list[Sample]:
        """The samples after the first `count`."""
        with self._news:
            return self._samples[count:]

    def get_next(self) -> Sample:
        """A sample that begins from now on; one with an error when none comes."""
        with self._news:
            # The one that may be under way began before.
            seen = len(self._samples) + (2 if self._samples else 1)
            end = time.monotonic() + self._silent_seconds
            while len(self._samples) < seen and not self._ended:
                if not self._news.wait(end - time.monotonic()):
                    return Sample(error=f"the driver did not answer NVML in {self._silent_seconds:g} s")
            if len(self._samples) < seen and not self._is_told():
                return Sample(error="the GPU reader ended")
            return self._samples[-1]

    def _is_told(self) -> bool:
        """Whether the last thing that was said is why it ended."""
        return bool(self._samples and self._samples[-1].error)

    def _listen(self) -> None:
        assert self._child.stdout
        for line in self._child.stdout:
            with self._news:
                self._samples.append(parse_sample(line))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()
