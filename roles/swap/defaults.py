"""What the swap role takes from the inventory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Swap:
    """Keys of the swap role; GiB throughout. Why these values: README.md."""

    # 0 removes what dsops made, and only that.
    swap_gb: int = 32
    swap_file: str = "/swapfile"
    # How gladly the kernel pages out instead of dropping cached files: 0 to 200, its own default is 60.
    swap_swappiness: int = 10
    # Must stay free on the file's disk once the file is there.
    swap_disk_reserve_gb: int = 10
