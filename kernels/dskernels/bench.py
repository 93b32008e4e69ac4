"""Timing as all kernels are timed: graph replay, cold L2, interleaved, both orders, medians. Needs a GPU."""

import statistics
from collections.abc import Callable, Mapping

import torch

FLUSH_BYTES = 512 << 20


class Clock:
    """Times functions of no arguments. Microseconds."""

    def __init__(self) -> None:
        self.flush = torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")

    def capture(self, work: Callable[[], object]) -> torch.cuda.CUDAGraph:
        """A graph of one call, after three calls to warm up."""
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                work()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph

    def compare(self, works: Mapping[str, Callable[[], object]], *, rounds: int = 20) -> dict[str, float]:
        """Name -> median over rounds in which all take their turn, every second round in the other order."""
        graphs = {name: self.capture(work) for name, work in works.items()}
        seen: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = {name: [] for name in works}
        for turn in range(rounds):
            names = list(graphs) if turn % 2 == 0 else list(reversed(graphs))
            for name in names:
                self.flush.zero_()
                begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                begin.record()
                graphs[name].replay()
                end.record()
                seen[name].append((begin, end))
        torch.cuda.synchronize()
        return {name: statistics.median(1e3 * a.elapsed_time(b) for a, b in pairs) for name, pairs in seen.items()}

    def empty(self) -> float:
        """What a graph of one kernel that does nothing much takes."""
        one = torch.zeros(1, device="cuda")
        return self.compare({"empty": lambda: one.add_(1)})["empty"]
