"""Has the GPUs burnt in by dskernels, in a process of its own that is killed when it takes too long."""

import importlib.util
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dsops.core.accept.measured import Fault, Figure, Gap, Gpu, Lack, Sound, Taken
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.node.accept.samples import list_gaps, list_places

ENGINES = Path("/opt/dsops/engines")
# Eight GPUs take 20 s, their pairs and their sum 15 s more; kernels that must be built first take a minute.
SECONDS = 240.0
LOOKS = ("memory", "copy", "triad", "host", "product", "repeat", "fp8")
# What a part's figures are called here; of those that come in several sizes the best counts.
NAMES = {"product": "product_rate", "fp8": "fp8_rate", "peer_copy": "peer_rate"}
SIZED = {"copy": "copy_rate", "triad": "triad_rate"}
KEPT = ("memory_write", "memory_read", "host_to_device", "device_to_host", "all_reduce")
# figure -> the part that measures it
PARTS = {
    "memory_write": "memory",
    "memory_read": "memory",
    "copy_rate": "copy",
    "triad_rate": "triad",
    "product_rate": "product",
    "fp8_rate": "fp8",
    "host_to_device": "host",
    "device_to_host": "host",
    "peer_rate": "peer",
}


@dataclass(frozen=True)
class Part:
    """A part of the burn-in, and something said of it."""

    part: str
    what: str = ""
    why: str = ""


@dataclass(frozen=True)
class Rate:
    """One of its figures."""

    name: str
    value: float
    unit: str
    peer: int | None = None


@dataclass(frozen=True)
class Burnt:
    """One GPU's report. gpu: PyTorch's index; uuid: which GPU that is."""

    gpu: int
    name: str
    seconds: float
    uuid: str
    figures: tuple[Rate, ...]
    problems: tuple[Part, ...]
    skips: tuple[Part, ...]
    done: tuple[str, ...]


@dataclass(frozen=True)
class Said:
    """All that the process said. why: nothing was measured, and is_broken: though it should have been."""

    why: str
    is_broken: bool
    torch: str
    cuda: str
    gpus: tuple[Burnt, ...]


def find_python(wanted: str, *, engines: Path = ENGINES) -> Path:
    """The Python that has PyTorch: the one that is wanted, else an engine's. Raises DsopsError."""
    if wanted:
        if not Path(wanted).is_file():
            raise DsopsError("is not there", where=wanted, mend="mend accept_python in the inventory, deploy again")
        return Path(wanted)
    found = sorted(engines.glob("*/venv/lib/python3*/site-packages/torch/__init__.py"))
    if not found:
        mend = "name the Python that has it: accept_python in the inventory"
        raise DsopsError(f"no engine here has PyTorch (looked in {engines})", mend=mend)
    return found[0].parents[4] / "bin/python"


def find_kernels() -> Path:
    """The folder of dskernels, which came with dsops. Raises DsopsError."""
    spec = importlib.util.find_spec("dskernels")
    if spec is None or not spec.submodule_search_locations:
        raise DsopsError("dskernels is not installed here", mend="`dsops deploy` with a newer bundle")
    return Path(next(iter(spec.submodule_search_locations)))


def burn_in(python: Path, kernels: Path, *, cubins: str = "", seconds: float = SECONDS) -> Said:
    """Raises DsopsError when it does not end in time, or ends without a word."""
    with _alone(kernels) as path:
        argv = [str(python), "-m", "dskernels.burn_in"]
        environ = os.environ | {"PYTHONPATH": str(path), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        environ |= {"DSKERNELS_CUBINS": cubins} if cubins else {}
        code, out, err = _run(argv, environ=environ, seconds=seconds)
    try:
        return decode(Said, json.loads(out.decode().splitlines()[-1]), where="burn-in")
    except (ValueError, LookupError, DsopsError) as error:
        last = err.decode(errors="replace").strip()[-300:]
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        raise DsopsError(f"the burn-in ended with {how} and told nothing ({error}): {last}") from error


def read_burn_in(said: Said, gpus: Sequence[Gpu]) -> Taken:
    """What it means for the GPUs that the driver lists."""
    if said.why:
        return Taken(gaps=list_gaps(gpus, Lack.UNREAD if said.is_broken else Lack.UNDONE, said.why))
    figures: list[Figure] = []
    sounds: list[Sound] = []
    faults: list[Fault] = []
    gaps: list[Gap] = []
    places = {one.gpu: _find_place(one, gpus) for one in said.gpus}
    for gpu in gpus:
        burnt = next((one for one in said.gpus if places[one.gpu] == gpu.index), None)
        if burnt is None:
            gaps += list_gaps([gpu], Lack.UNREAD, "PyTorch does not see this GPU", names=_list_names())
            continue
        figures += _read_figures(burnt, gpu.index, places)
        _read_parts(burnt, gpu.index, LOOKS + (("peer",) if len(gpus) > 1 else ()), sounds, faults, gaps)
        if len(gpus) < 2:
            gaps += list_gaps([gpu], Lack.OTHER, "one GPU has no peers", names=("peer", "peer_rate"))
    _read_all_reduce(said, gpus, figures, sounds, faults, gaps)
    gaps += _find_missing(gpus, figures, gaps)
    return Taken(tuple(figures), tuple(sounds), tuple(faults), tuple(gaps))


def _list_names() -> tuple[str, ...]:
    return (*LOOKS, *PARTS, "peer")


def _find_place(burnt: Burnt, gpus: Sequence[Gpu]) -> int | None:
    """By its UUID, which PyTorch tells without the `GPU-`; by its number where it tells none."""
    bare = burnt.uuid.removeprefix("GPU-").lower()
    if not bare:
        return burnt.gpu
    return next((gpu.index for gpu in gpus if gpu.uuid.removeprefix("GPU-").lower() == bare), None)


def _read_figures(burnt: Burnt, place: int, places: dict[int, int | None]) -> list[Figure]:
    found: dict[tuple[str, int], Figure] = {}
    for one in burnt.figures:
        stem = one.name.partition("_")[0]
        name = NAMES.get(one.name) or SIZED.get(stem) or (one.name if one.name in KEPT else None)
        if name is None:
            continue
        gpu = -1 if name == "all_reduce" else place
        peer = -1 if one.peer is None else places.get(one.peer)
        key = (name, -1 if peer is None else peer)
        if key not in found or found[key].value < one.value:
            found[key] = Figure(name, one.value, one.unit, gpu, key[1])
    return list(found.values())


def _read_parts(
    burnt: Burnt,
    place: int,
    parts: Sequence[str],
    sounds: list[Sound],
    faults: list[Fault],
    gaps: list[Gap],
) -> None:
    """What failed is a fault; what came to its end without a word is sound; what did neither was not read."""
    skipped = {one.part: one.why for one in burnt.skips}
    faults += [Fault(one.part, one.what, place) for one in burnt.problems if one.part != "all-reduce"]
    failed = {one.part for one in burnt.problems}
    last = burnt.problems[-1].what if burnt.problems else "nobody knows why"
    for part in parts:
        if part in failed:
            continue
        if part in skipped:
            gaps.append(Gap(part, Lack.OTHER, skipped[part], place))
        elif part in burnt.done:
            sounds.append(Sound(part, place, _tell_extent(part, burnt)))
        else:
            gaps.append(Gap(part, Lack.UNREAD, f"it did not come to that: {last}", place))


def _tell_extent(part: str, burnt: Burnt) -> str:
    values = {one.name: one.value for one in burnt.figures}
    if part == "memory" and {"memory_walked", "memory_passes"} <= set(values):
        return f"{values['memory_walked']:.1f} GiB written and read {values['memory_passes']:.0f} times"
    if part == "product" and "products" in values:
        return f"{values['products']:.0f} products checked, {values.get('abft_share', 0.0):.1f} % of their time"
    return ""


def _read_all_reduce(
    said: Said,
    gpus: Sequence[Gpu],
    figures: Sequence[Figure],
    sounds: list[Sound],
    faults: list[Fault],
    gaps: list[Gap],
) -> None:
    problems = [one.what for burnt in said.gpus for one in burnt.problems if one.part == "all-reduce"]
    faults += [Fault("all-reduce", what) for what in problems]
    names = ("all-reduce", "all_reduce")
    if len(gpus) < 2:
        gaps += list_gaps(gpus, Lack.OTHER, "one GPU has no peers", names=names)
    elif any("all-reduce" in burnt.done for burnt in said.gpus) and not problems:
        sounds.append(Sound("all-reduce", says=f"over {len(said.gpus)} GPUs"))
    elif not problems:
        gaps += list_gaps(gpus, Lack.UNREAD, "it did not come to that: a GPU did not answer", names=names[:1])
    if len(gpus) > 1 and not any(one.name == "all_reduce" for one in figures):
        gaps += list_gaps(gpus, Lack.UNREAD, "it did not come to its end", names=names[1:])


def _find_missing(gpus: Sequence[Gpu], figures: Sequence[Figure], gaps: Sequence[Gap]) -> list[Gap]:
    """Figures whose part failed before it could tell them, or that its GPU does not have."""
    there = list_places(figures, gaps)
    lacks = {(one.name, one.gpu): one for one in gaps}
    missing = []
    for gpu in gpus:
        for name, part in PARTS.items():
            if (name, gpu.index) not in there:
                of = lacks.get((part, gpu.index))
                said = Gap(name, of.lack, of.why, gpu.index) if of else None
                missing.append(said or Gap(name, Lack.UNREAD, f"the part `{part}` failed", gpu.index))
    return missing


@contextmanager
def _alone(kernels: Path) -> Iterator[Path]:
    """A folder in which there is dskernels and nothing else of what lies beside it."""
    with tempfile.TemporaryDirectory(prefix="dsops-accept-") as folder:
        (Path(folder) / kernels.name).symlink_to(kernels)
        yield Path(folder)


def _run(argv: list[str], *, environ: dict[str, str], seconds: float) -> tuple[int, bytes, bytes]:
    """(exit code, output, errors). Never waits for a process that the driver does not let go."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(
                argv, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            raise DsopsError(f"cannot be started ({error.strerror})", where=argv[0]) from error
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                child.wait(2.0)
            raise DsopsError(f"the burn-in did not end within {seconds:g} s, and was killed") from error
        out.seek(0)
        err.seek(0)
        return child.returncode, out.read(), err.read()
