"""Timing as all kernels are timed: graph replay, cold L2, interleaved, both orders, medians. Needs a GPU."""

import statistics
from collections.abc import Callable, Mapping
from functools import partial

import torch

FLUSH_BYTES = 512 << 20
COPIES = tuple(size << 20 for size in (256, 512, 1024, 2048))


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
        """Name -> median over rounds."""
        return {name: statistics.median(some) for name, some in self.time(works, rounds=rounds).items()}

    def time(self, works: Mapping[str, Callable[[], object]], *, rounds: int = 20) -> dict[str, list[float]]:
        """Name -> one time a round; all take their turn in every round, every second round in the other order."""
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
        return {name: [1e3 * begin.elapsed_time(end) for begin, end in pairs] for name, pairs in seen.items()}

    def empty(self) -> float:
        """What a graph of one kernel that does nothing much takes."""
        one = torch.zeros(1, device="cuda")
        return self.compare({"empty": lambda: one.add_(1)})["empty"]

    def copy_rate(self) -> float:
        """Bytes read and written in a microsecond by a copy, of 256 MiB to 2 GiB: the best (placement counts)."""
        rates = []
        for size in COPIES:
            source = torch.ones(size // 4, dtype=torch.int32, device="cuda")
            target = torch.empty_like(source)
            rates.append(2 * size / self.compare({"copy": partial(target.copy_, source)})["copy"])
        return max(rates)
