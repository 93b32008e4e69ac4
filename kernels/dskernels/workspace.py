"""Memory in which the parts of a product that was split over K wait for each other."""

import torch


class Workspace:
    """Parts of tiles, and their counters, which are zero between products. One for each stream."""

    def __init__(self, device: torch.device, *, floats: int = 1 << 22, tiles: int = 1 << 14) -> None:
        self.parts = torch.empty(floats, dtype=torch.float32, device=device)
        self.counts = torch.zeros(tiles, dtype=torch.int32, device=device)

    def fit(self, tiles: int, splits: int, size: int) -> int:
        """How many splits of so many tiles of `size` values have room here; 1 needs none."""
        has_room = tiles * splits * size <= self.parts.numel() and tiles <= self.counts.numel()
        return splits if has_room else 1
