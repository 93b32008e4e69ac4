"""Measures this server: counters before and after, its GPUs at work, its disk, its network."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsops import __version__
from dsops.core.accept.measured import Figure, Gap, Gpu, Lack, Measurement, Taken, join
from dsops.core.errors import DsopsError
from dsops.node.accept import burn
from dsops.node.accept.config import AcceptConfig
from dsops.node.accept.nic import measure_nic
from dsops.node.accept.samples import Sample, find_gpus, find_users, list_gaps, list_places, sum_up, sum_up_load
from dsops.node.accept.watch import Watch
from dsops.node.run import Run, run

MACHINE_ID = Path("/etc/machine-id")
SERVING = "the node serves: --while-serving only looks"


def burn_here(config: AcceptConfig) -> burn.Said:
    """Raises DsopsError: it did not end, or told nothing. What is not installed here is told as a reason."""
    try:
        python, kernels = burn.find_python(config.python), burn.find_kernels()
    except DsopsError as error:
        return burn.Said(tell_whole(error), False, "", "", ())
    return burn.burn_in(python, kernels, cubins=config.cubins)


def tell_whole(error: DsopsError) -> str:
    """What is wrong, and what to do: where only one line is told."""
    return f"{error}; {error.mend}" if error.mend else str(error)


def tell_nobody(line: str) -> None:
    """For whoever does not want to know."""


@dataclass(frozen=True)
class Tools:
    """What a measurement works with; a test gives its own.

    burns: has the GPUs burnt in. read_disk: (bytes, seconds, whether past the page cache) of so many MiB. is_bare: the
    inventory says that this server has no GPU. tell: hears what is done now.
    """

    config: AcceptConfig
    read_disk: Callable[[int], tuple[int, float, bool]]
    watch: Callable[[], Watch] = Watch
    burns: Callable[[AcceptConfig], burn.Said] = burn_here
    is_bare: bool = False
    run: Run = run
    machine: Path = MACHINE_ID
    clock: Callable[[], float] = time.monotonic
    tell: Callable[[str], None] = tell_nobody


def measure(tools: Tools, *, addresses: Sequence[str] = (), is_light: bool = False) -> Measurement:
    """All of it. is_light: without anything that takes more than a look."""
    begin = tools.clock()
    gpus, driver, torch, taken = _measure_gpus(tools, is_light=is_light)
    parts = [taken, _measure_disk(tools, is_light=is_light), measure_nic(addresses, run=tools.run)]
    found = join(parts)
    return Measurement(
        machine=read_machine(tools.machine),
        host=platform.node(),
        kernel=platform.release(),
        driver=driver,
        dsops=__version__,
        torch=torch,
        seconds=round(tools.clock() - begin, 1),
        gpus=gpus,
        figures=found.figures,
        sounds=found.sounds,
        faults=found.faults,
        gaps=found.gaps,
    )


def read_machine(path: Path = MACHINE_ID) -> str:
    """Which machine this is. Raises DsopsError: a certificate of nobody knows which is none."""
    try:
        return path.read_text().strip()
    except OSError as error:
        mend = "`systemd-machine-id-setup`"
        raise DsopsError(f"cannot be read ({error.strerror})", where=str(path), mend=mend) from error


def _measure_gpus(tools: Tools, *, is_light: bool) -> tuple[tuple[Gpu, ...], str, str, Taken]:
    """(GPUs, driver, PyTorch, what was measured)."""
    if tools.is_bare:
        return (), "", "", Taken(figures=(Figure("gpu_count", 0),))
    tools.tell("reading the GPUs' counters")
    with tools.watch() as watch:
        before = watch.get_next()
        if before.error:
            return (), "", "", Taken(gaps=(Gap("gpu_count", Lack.UNREAD, before.error),))
        gpus = find_gpus(before)
        start = watch.count
        torch, load = _load(tools, before, gpus, is_light=is_light)
        meanwhile = watch.get_since(start)
        after = watch.get_next()
        heard = watch.get_since(start)
    count = Taken(figures=(Figure("gpu_count", len(gpus)),))
    if load is None:
        work = _lack(tools, before, gpus, is_light=is_light)
    else:
        # Where nothing worked, the GPUs were only seen at rest: their power would fail for want of work.
        work = join([load, _see_load(gpus, meanwhile if load.figures else [], error=after.error)])
    return gpus, before.driver, torch, join([count, sum_up(before, heard, after), work])


def _see_load(gpus: Sequence[Gpu], samples: Sequence[Sample], *, error: str) -> Taken:
    """What was seen of each GPU while it worked; every GPU that was not seen is told.

    error: of the reader, afterwards: then nobody knows how much of the work it saw, and none of it counts.
    """
    seen = sum_up_load([] if error else [one for one in samples if not one.error])
    names = ("power_share", "clock", "temperature", "slowdown", "pcie_generation")
    there = list_places(seen.figures, seen.gaps)
    why = error or "it was not seen while it worked"
    gaps = [one for one in list_gaps(gpus, Lack.UNREAD, why, names=names) if (one.name, one.gpu) not in there]
    return join([seen, Taken(gaps=tuple(gaps))])


def _load(tools: Tools, before: Sample, gpus: Sequence[Gpu], *, is_light: bool) -> tuple[str, Taken | None]:
    """(PyTorch, what the burn-in measured); None when there was none."""
    if not gpus or is_light or not tools.config.burn_in or find_users(before):
        return "", None
    tools.tell(f"burning in {len(gpus)} GPUs at once, then in pairs")
    try:
        said = tools.burns(tools.config)
    except DsopsError as error:
        return "", Taken(gaps=list_gaps(gpus, Lack.UNREAD, str(error)))
    return said.torch, burn.read_burn_in(said, gpus)


def _lack(tools: Tools, before: Sample, gpus: Sequence[Gpu], *, is_light: bool) -> Taken:
    """Why the GPUs were not burnt in."""
    if not tools.config.burn_in:
        return Taken(gaps=list_gaps(gpus, Lack.OFF, "accept_burn_in is off in the inventory"))
    if is_light:
        return Taken(gaps=list_gaps(gpus, Lack.UNDONE, SERVING))
    why = f"the GPUs are in use ({find_users(before)}); their engine must be stopped"
    return Taken(gaps=list_gaps(gpus, Lack.UNDONE, why))


def _measure_disk(tools: Tools, *, is_light: bool) -> Taken:
    if is_light:
        return Taken(gaps=(Gap("storage_read", Lack.UNDONE, SERVING),))
    tools.tell(f"writing {tools.config.storage_mib} MiB to the store's disk, and reading them back")
    try:
        size, seconds, is_direct = tools.read_disk(tools.config.storage_mib)
    except DsopsError as error:
        return Taken(gaps=(Gap("storage_read", Lack.UNREAD, tell_whole(error)),))
    if not is_direct:
        why = "this file system cannot be read past the page cache"
        return Taken(gaps=(Gap("storage_read", Lack.OTHER, why),))
    return Taken(figures=(Figure("storage_read", round(size / max(seconds, 1e-9) / 1e6, 1), "MB/s"),))
