"""Divides the GPUs of this server as wanted: planned, refused while there is traffic, done, and looked at again."""

import asyncio
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dsops.catalog.mig import find_kind
from dsops.core.errors import DsopsError
from dsops.core.mig import SLOTS, Binding, Kind, Part, check_bindings, parse_bindings, parse_layouts
from dsops.core.mig_plan import Change, Gpu, find_wrong, get_device, plan_gpu
from dsops.node.mig.driver import Driver
from dsops.node.run import Runner, get_output
from dsops.node.sources.gateway import judge_gateway, read_gateway

CHANGING = "changing"  # there while no slot can be told its device
AGENT = "dsops-agent.service"
GATEWAY = "dsops-gateway.service"
DRAIN = "`dsops drain NODE --reason MIG --wait 120`, then again; `dsops undrain NODE` afterwards"
STOP_SECONDS = 90.0
GATEWAY_SECONDS = 5.0


@dataclass(frozen=True)
class Wanted:
    """The file /etc/dsops/mig.toml. layouts: one for all GPUs, or one for each; slots: `a: 0/0` (GPU / instance)."""

    layouts: tuple[str, ...]
    slots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Host:
    """This server. folder: where slots find which device is theirs; socket: the gateway's; run: programs."""

    folder: Path
    socket: Path
    run: Runner


@dataclass(frozen=True)
class Plan:
    """What was found, what is wanted, and what must change for it; of the GPUs in the driver's order."""

    gpus: tuple[Gpu, ...]
    kinds: tuple[Kind | None, ...]
    layouts: tuple[tuple[Part, ...], ...]
    bindings: Mapping[str, Binding]
    changes: tuple[Change, ...]

    @property
    def says(self) -> tuple[str, ...]:
        """One line for each GPU that changes."""
        return tuple(f"GPU {one.gpu}: {one.says}" for one in self.changes if one)


def make_plan(wanted: Wanted, driver: Driver) -> Plan:
    """Changes nothing. Raises DsopsError with the reason when the wanted layout cannot be had here."""
    gpus = driver.read()
    layouts = parse_layouts(wanted.layouts, gpus=len(gpus))
    bindings = parse_bindings(wanted.slots)
    kinds = tuple(find_kind(gpu.id) for gpu in gpus)
    asked = list(zip(gpus, kinds, layouts, strict=True))
    changes = tuple(plan_gpu(gpu, kind, parts) for gpu, kind, parts in asked)
    check_bindings(bindings, layouts)
    for gpu, kind, parts in asked:
        if kind and parts:
            driver.check_places(gpu, kind, parts)
    return Plan(gpus, kinds, layouts, bindings, changes)


def find_rebound(plan: Plan, host: Host) -> tuple[str, ...]:
    """Slots that are told another device than theirs, or none; of a plan that changes no GPU."""
    return tuple(slot for slot in SLOTS if read_device(slot, host) != render_device(plan, slot, plan.gpus))


def render_device(plan: Plan, slot: str, gpus: Sequence[Gpu]) -> str:
    """The slot's file; without a binding it says nothing, and the slot has all GPUs."""
    bound = plan.bindings.get(slot)
    return f"CUDA_VISIBLE_DEVICES={get_device(bound, gpus)}\n" if bound else ""


def read_device(slot: str, host: Host) -> str:
    """What is there; nothing is the same as a file that says nothing."""
    try:
        return (host.folder / f"{slot}.env").read_text()
    except OSError:
        return ""


def apply(wanted: Wanted, driver: Driver, host: Host) -> tuple[str, ...]:
    """Does it; what was done, in words. Raises DsopsError: refused with nothing changed, or failed midway.

    After it failed midway the slots stay down and the node drained: the next run goes on from what it finds.
    """
    with _lock(host):
        plan = make_plan(wanted, driver)
        if not plan.says:
            return _rebind(plan, host)
        _check_quiet(host)
        with _quiet_units(host, is_reset=any(one.mode is not None for one in plan.changes)):
            _check_users(driver)
            _forget_devices(host)
            _write_devices(plan, _change(plan, driver), host)
        return plan.says


def _change(plan: Plan, driver: Driver) -> tuple[Gpu, ...]:
    """The GPUs afterwards, proven to be as wanted."""
    for change, kind in zip(plan.changes, plan.kinds, strict=True):
        if change:
            driver.change(change, kind)
    gpus = driver.read()
    for gpu, kind, parts in zip(gpus, plan.kinds, plan.layouts, strict=True):
        if wrong := find_wrong(gpu, kind, parts):
            mend = "run it again; `nvidia-smi mig -lgi` shows what is there"
            raise DsopsError(f"it is not as wanted afterwards: {wrong}", where=f"GPU {gpu.index}", mend=mend)
    return gpus


def _rebind(plan: Plan, host: Host) -> tuple[str, ...]:
    """Tells slots their devices; one that runs must start again for it."""
    slots = find_rebound(plan, host)
    if find_running(slots, host):
        _check_quiet(host)
        with _quiet_units(host, is_reset=False):
            _write_devices(plan, plan.gpus, host)
    else:
        _write_devices(plan, plan.gpus, host)
    return tell_rebound(plan, slots)


def tell_rebound(plan: Plan, slots: Sequence[str]) -> tuple[str, ...]:
    """One line for each slot that gets another device."""
    return tuple(f"slot {slot}: {render_device(plan, slot, plan.gpus).strip() or 'all GPUs'}" for slot in slots)


def find_running(slots: Sequence[str], host: Host) -> tuple[str, ...]:
    """Those of the slots that compute now, with the device that they were told when they started."""
    return tuple(slot for slot in slots if _is_active(host, f"triton@{slot}.service"))


def _forget_devices(host: Host) -> None:
    """From here on no slot may start, by whomever, until it is known what is its own."""
    (host.folder / CHANGING).touch()
    for slot in SLOTS:
        (host.folder / f"{slot}.env").unlink(missing_ok=True)


def _write_devices(plan: Plan, gpus: Sequence[Gpu], host: Host) -> None:
    for slot in SLOTS:
        new = host.folder / f".{slot}.env"
        new.write_text(render_device(plan, slot, gpus))
        new.chmod(0o644)
        new.replace(host.folder / f"{slot}.env")
    (host.folder / CHANGING).unlink(missing_ok=True)


# --- nobody may be at work on the GPUs ---


def _check_quiet(host: Host) -> None:
    """Raises DsopsError while this node may have traffic."""
    why = find_traffic(host)
    if why:
        raise DsopsError(f"the GPUs are not divided anew: {why}; nothing was changed", mend=DRAIN)


def find_traffic(host: Host) -> str:
    """Why it cannot be done now, "" when the node is drained, or has no gateway that runs."""
    if not host.socket.exists() or not _is_active(host, GATEWAY):
        return ""
    status = judge_gateway(asyncio.run(read_gateway(host.socket, timeout=GATEWAY_SECONDS)))
    if status.reason:
        return f"nobody can say whether there is traffic ({status.reason})"
    if status.drained is None:
        return "the node has traffic"
    if status.in_flight != 0:
        return f"{'an unknown number of' if status.in_flight is None else status.in_flight} requests are in flight"
    return ""


def _check_users(driver: Driver) -> None:
    """Raises DsopsError while a process holds a GPU."""
    for gpu in driver.read():
        if gpu.users:
            told = ", ".join(map(str, gpu.users[:5]))
            mend = f"end it (`ps -fp {gpu.users[0]}`), then again; nothing was changed"
            raise DsopsError(f"processes use it: {told}", where=f"GPU {gpu.index} ({gpu.name})", mend=mend)


@contextmanager
def _quiet_units(host: Host, *, is_reset: bool) -> Iterator[None]:
    """Slots stand still meanwhile, and the agent where it would be a user of a GPU that is reset.

    What ran starts again; the slots not after a change that broke: their units would not start without their files.
    """
    slots = [unit for slot in SLOTS if _is_active(host, unit := f"triton@{slot}.service")]
    others = [AGENT] if is_reset and _is_active(host, AGENT) else []
    for unit in (*slots, *others):
        get_output(["systemctl", "stop", unit], run=lambda argv: host.run(argv, timeout=STOP_SECONDS))
    try:
        yield
    finally:
        known = [] if (host.folder / CHANGING).exists() else slots
        # Not waited for: a slot's start waits for dsops-mig.service, which may be this very process.
        for unit in (*others, *known):
            host.run(["systemctl", "start", "--no-block", unit])


def _is_active(host: Host, unit: str) -> bool:
    done = host.run(["systemctl", "show", "-p", "ActiveState", "--value", unit])
    return done.stdout.strip() not in ("inactive", "failed", "")


@contextmanager
def _lock(host: Host) -> Iterator[None]:
    """One at a time, whoever asks."""
    host.folder.mkdir(parents=True, exist_ok=True)
    with (host.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            mend = "wait for it to end"
            raise DsopsError("the GPUs are being divided already", where=str(host.folder), mend=mend) from error
        yield
