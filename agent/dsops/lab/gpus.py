"""Simulated GPUs: builds our libnvidia-ml.so.1 and writes the files that it answers from."""

import hashlib
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab.cards import DEFAULT, MOST, SOURCE, find_unknown, get_profile, get_sources
from dsops.lab.place import Lab, Server
from dsops.lab.run import read, run, write

LIBRARY = "libnvidia-ml.so.1"
INSIDE = "/run/dsops-lab-gpus"  # where a server sees the files; the library's default
KERNEL_LOG = "kmsg"  # among them: what the driver of simulated GPUs would write into the kernel's log
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden")
XID_EVENT = 8
KEPT_EVENTS = 16
Value = str | int | float | None


def library_path() -> str:
    """The server's library folder, relative to its root, as Debian names it."""
    return f"usr/lib/{platform.machine()}-linux-gnu/{LIBRARY}"


def cache(lab: Lab) -> Path:
    return lab.root / "nvml"


def ensure_library(lab: Lab) -> bool:
    """Compile before the servers start, which all take it at once; whether it was compiled."""
    before = set(cache(lab).glob(f"*/{LIBRARY}"))
    return build(cache(lab)) not in before


def build(folder: Path, *, without: tuple[str, ...] = ()) -> Path:
    """Compile into folder/HASH, once. without: functions that are not exported, as in an older driver."""
    absent = [f"-D{name}=absent_{name}" for name in sorted(without)]
    what = b"".join(path.read_bytes() for path in get_sources()) + " ".join((*FLAGS, *absent)).encode()
    library = folder / hashlib.sha256(what).hexdigest()[:12] / LIBRARY
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        part = library.with_name(f"{LIBRARY}.part")
        run(["gcc", *FLAGS, *absent, f"-Wl,-soname,{LIBRARY}", "-o", part, SOURCE], where=str(SOURCE))
        part.replace(library)
    return library


def install(lab: Lab, server: Server, *, without: tuple[str, ...] = ()) -> bool:
    """Put the library where the server's programs look for it; whether it was new there."""
    target = lab.home(server).root / library_path()
    library = build(cache(lab), without=without)
    complete(lab.home(server).gpus, server)
    if target.exists() and target.read_bytes() == library.read_bytes():
        return False
    part = target.with_name(f".{LIBRARY}.part")
    part.write_bytes(library.read_bytes())
    part.replace(target)
    return True


# --- the files ---


def parse(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key: value for key, _, value in pairs}


def render(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())


def default_driver(server: Server, *, profile: str = DEFAULT) -> dict[str, str]:
    return {"count": str(server.gpus), **get_profile(profile).driver}


def default_gpu(server: Server, index: int, *, profile: str = DEFAULT) -> dict[str, str]:
    """A healthy idle card; the warmer, the further back it stands."""
    card = get_profile(profile).gpu
    return {
        "profile": profile,
        "uuid": f"GPU-1ab00000-0000-4000-8000-{server.number:04x}{index:08x}",
        "serial": f"165{server.number:05}{index:05}",
        "minor": str(index),
        "module_id": str(index + 1),
        "board_id": str((0x10 + index) << 8),
        "pci_bus": str(0x10 + index),
        **card,
        "temperature": str(int(card["temperature"]) + index),
    }


def reset(folder: Path, server: Server, *, profile: str = DEFAULT, cards: int | None = None) -> None:
    """All GPUs of a server healthy and idle. cards: how many, if not as many as the server has."""
    many = server.gpus if cards is None else cards
    if not 1 <= many <= MOST:
        raise DsopsError(f"a server has 1 to {MOST} GPUs, not {many}", where=server.name)
    driver = {**default_driver(server, profile=profile), "count": str(many)}
    files = [folder / f"gpu{index}.conf" for index in range(many)]
    for index, path in enumerate(files):  # each in one step: who asks meanwhile misses no GPU that is there
        write(path, render(default_gpu(server, index, profile=profile)))
    write(folder / "driver.conf", render(driver))
    for path in set(folder.glob("gpu*.conf")) - set(files):
        path.unlink()


def mend(folder: Path, server: Server) -> None:
    """The cards that are there, healthy and idle again; how many are there is their files' number."""
    found = parse(read(folder / "gpu0.conf"))
    reset(folder, server, profile=found.get("profile", DEFAULT), cards=len(list(folder.glob("gpu*.conf"))) or None)


def complete(folder: Path, server: Server) -> None:
    """Files of before there were profiles say the rest of an H100 too; what they say already stays."""
    for path in folder.glob("gpu*.conf"):
        found = parse(read(path))
        if "profile" not in found:
            whole = {**default_gpu(server, int(path.stem.removeprefix("gpu"))), **found}
            write(path, render({key: value for key, value in whole.items() if key not in ("xid", "xid_sequence")}))
        elif parts := find_missing_parts(found):
            write(path, render({**found, **parts}))


def find_missing_parts(found: Mapping[str, str]) -> dict[str, str]:
    """How the card can be divided, in a file of before that could be said."""
    known = get_profile(found["profile"]).gpu
    return {key: value for key, value in known.items() if key.startswith("mig_profile.") and key not in found}


def get_file(folder: Path, which: int | str) -> Path:
    path = folder / ("driver.conf" if which == "driver" else f"gpu{which}.conf")
    if not path.exists():
        raise DsopsError(f"there is no simulated {path.stem}", where=str(folder), mend="see `dsops lab status`")
    return path


def change(folder: Path, which: int | str, values: Mapping[str, Value]) -> dict[str, str]:
    """Change keys of gpu N, or of "driver"; None removes one. Running processes see it on their next call."""
    path = get_file(folder, which)
    merged: dict[str, Value] = {**parse(read(path)), **values}
    kept = {key: str(value) for key, value in merged.items() if value is not None}
    if unknown := find_unknown(kept, part="driver" if which == "driver" else "gpu"):
        raise DsopsError(f"nothing reads {', '.join(unknown)}", where=str(path), mend="the keys are in nvml/keys.toml")
    write(path, render(kept))
    return kept


def check(folder: Path) -> None:
    """Raise when one of the files says what nothing reads."""
    for path in sorted(folder.glob("*.conf")):
        change(folder, path.stem.removeprefix("gpu"), {})


def grow(base: int, rate: float) -> str:
    """A counter that is `base` now and grows by `rate` a second, with nobody to write it."""
    return f"{base}+{rate:g}@{time.time():.3f}"


def read_gpu(folder: Path, index: int) -> dict[str, str]:
    return parse(read(get_file(folder, index)))


def read_number(folder: Path, index: int, key: str) -> int:
    """A counter as it is now; 0 when the card has none."""
    base, _, rest = read_gpu(folder, index).get(key, "0").partition("+")
    rate, _, since = rest.partition("@")
    return int(base, 0) + int(float(rate or 0) * max(0.0, time.time() - float(since or 0)))


def raise_event(folder: Path, index: int, kind: int, data: int) -> None:
    """Tell everyone who waits for events of this GPU. Numbers go on after a mend: who waits knows the last one."""
    found = read_gpu(folder, index)
    numbers = sorted(int(key.removeprefix("event.")) for key in found if key.startswith("event."))
    number = max(int(time.time() * 1000), *(one + 1 for one in numbers), 0)
    old: dict[str, Value] = {f"event.{one}": None for one in numbers[: 1 - KEPT_EVENTS]}
    change(folder, index, {**old, f"event.{number}": f"{kind} {data} {time.time():.3f}"})


def raise_xid(folder: Path, index: int, xid: int) -> None:
    raise_event(folder, index, XID_EVENT, xid)


def log_line(folder: Path, text: str) -> None:
    """One more line of the driver in the kernel's log, as /dev/kmsg gives it. Appended: readers keep it open."""
    path = folder / KERNEL_LOG
    number = len(read(path).splitlines())
    with path.open("a") as log:
        log.write(f"4,{number},{int(time.monotonic() * 1e6)},-;{text}\n")


def begin_log(folder: Path) -> None:
    """A boot begins with an empty log."""
    (folder / KERNEL_LOG).write_text("")


def get_pci(folder: Path, index: int) -> str:
    """Where the GPU is on the bus, as the driver's messages name it."""
    return f"0000:{int(read_gpu(folder, index)['pci_bus'], 0):02x}:00"


def count(folder: Path) -> int:
    return int(parse(read(folder / "driver.conf")).get("count", "0"))
