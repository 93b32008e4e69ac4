"""`python -m dsops.node.store.reread FILE`: prints its sha256 as the disk has it, slowly and behind everybody else."""

import errno
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dsops.node.store.disk import hash_slowly

# Even where idle classes mean nothing to the disk, this leaves nearly all of it to whoever loads a release.
BYTES_PER_SECOND = 100e6
# What the disk says when it cannot give back what was written: a sector, a block's checksum, the file system.
ROTTEN = (errno.EIO, errno.EBADMSG, errno.EUCLEAN)
ROTTEN_EXIT = 3


def main() -> None:
    """Exit 3 when the disk cannot give the file back, 1 on any other error."""
    with suppress(OSError):
        # Idle for the CPU, and by that for the disk's queue too (ioprio_set(2), "nothing set").
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        print(hash_slowly(Path(sys.argv[1]), rest=make_rest()))
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        sys.exit(ROTTEN_EXIT if error.errno in ROTTEN else 1)


def make_rest(
    clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> Callable[[int], None]:
    """Waits as long as so many bytes may take from now on."""
    began = clock()
    return lambda done: sleep(max(0.0, done / BYTES_PER_SECOND - (clock() - began)))


if __name__ == "__main__":
    main()
