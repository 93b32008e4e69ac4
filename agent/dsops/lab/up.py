"""`dsops lab up`: from whatever is there to five servers that answer, changing only what is missing."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab import base, cgroups, gpus, keys, machine, network, owner, server, sink
from dsops.lab.metal import guest, image, links
from dsops.lab.place import Lab, Server
from dsops.lab.processes import end_parts
from dsops.lab.progress import Show, step


def up(lab: Lab, show: Show, *, take_over: bool = False, checkout: str = "") -> bool:
    """The servers; whether anything had to be done."""
    machine.require(machine.check_machine(machine.get_facts(lab), place=str(lab.root)))
    with owner.changing(lab, checkout=checkout, take_over=take_over):
        owner.record(lab, checkout=checkout)
        end_parts(lab, "build", thaw=lambda: cgroups.thaw_all(lab))  # of an `up` that was killed
        steps: dict[str, Callable[[], bool]] = {
            "base": lambda: base.ensure_base(lab),
            "keys": lambda: keys.ensure_keys(lab),
            "gpus": lambda: gpus.ensure_library(lab),
            "network": lambda: network.ensure_network(lab),
            "sink": lambda: sink.ensure_sink(lab),
        }
        changed = [_do(show, name, do) for name, do in steps.items()]
        return any([*changed, *_start_all(lab, show)])


def _do(show: Show, name: str, do: Callable[[], bool]) -> bool:
    with step(show, name) as notes:
        changed = do()
        notes.append("made" if changed else "unchanged")
        return changed


def _start_all(lab: Lab, show: Show) -> list[bool]:
    """All servers at once; every one is tried before the first failure is told."""
    root = base.find_base(lab)
    if root is None:
        raise DsopsError("the base system is gone", where=str(lab.base), mend="repeat `dsops lab up`")
    with ThreadPoolExecutor(len(lab.servers)) as pool:
        jobs = [pool.submit(_start, lab, one, root, show) for one in lab.servers]
    return _get_results(jobs)


def _get_results(jobs: list[Future[bool]]) -> list[bool]:
    errors = [error for job in jobs if (error := job.exception())]
    if bugs := [error for error in errors if not isinstance(error, DsopsError)]:
        raise bugs[0]
    if errors:
        whats = "; ".join(str(error) for error in errors)
        mends = dict.fromkeys(error.mend for error in errors if isinstance(error, DsopsError) and error.mend)
        raise DsopsError(whats, mend="; ".join(mends))
    return [job.result() for job in jobs]


def _start(lab: Lab, one: Server, root: Path, show: Show) -> bool:
    with step(show, one.name) as notes:
        made = server.ensure_prepared(lab, one, root)
        started = server.ensure_started(lab, one)
        state = server.wait_ready(lab, one)
        notes += [_word(made=made, started=started), str(lab.address(one)), state]
        return made or started


def _word(*, made: bool, started: bool) -> str:
    if made:
        return "made and started" if started else "renewed"
    return "started" if started else "unchanged"


def up_metal(lab: Lab, show: Show, *, names: tuple[str, ...] = (), take_over: bool = False, checkout: str = "") -> bool:
    """The guests (all, or the named), and nothing else of the lab but its network; whether anything was done."""
    wanted = [one for one in lab.guests if one.name in (names or (one.name,))]
    problems = machine.check_machine(machine.get_facts(lab), place=str(lab.root))
    machine.require([*problems, *machine.check_metal(machine.get_metal_facts(lab), place=str(lab.root))])
    with owner.changing(lab, checkout=checkout, take_over=take_over):
        owner.record(lab, checkout=checkout)
        end_parts(lab, "build", thaw=lambda: cgroups.thaw_all(lab))
        steps: dict[str, Callable[[], bool]] = {
            "image": lambda: image.ensure_image(lab),
            "keys": lambda: keys.ensure_keys(lab),
            "network": lambda: network.ensure_network(lab),
            "rail": lambda: links.ensure_rail(lab),
            "sink": lambda: sink.ensure_sink(lab),
        }
        changed = [_do(show, name, do) for name, do in steps.items()]
        return any([*changed, *_start_guests(lab, wanted, show)])


def _start_guests(lab: Lab, wanted: list[Server], show: Show) -> list[bool]:
    """All at once; without KVM each of them keeps two cores busy while it boots."""
    with ThreadPoolExecutor(len(wanted)) as pool:
        jobs = [pool.submit(_start_guest, lab, one, show) for one in wanted]
    return _get_results(jobs)


def _start_guest(lab: Lab, one: Server, show: Show) -> bool:
    with step(show, one.name) as notes:
        made = guest.ensure_prepared(lab, one)
        started = guest.ensure_started(lab, one)
        state = guest.wait_ready(lab, one)
        notes += [_word(made=made, started=started), str(lab.address(one)), state]
        return made or started
