"""Driver: kernel, GPU driver and all that must have its version, as one pinned set; judged after each boot."""

from pathlib import Path

from dsops.core.drivers.lockset import FOLDER, SETS, TURNED, Carried
from dsops.core.errors import DsopsError
from pyinfra import host, logger
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from roles.driver.choice import CardsFact, find_problems, read_carried, render_refusal
from roles.driver.defaults import DriverSet
from roles.driver.state import at_boot, lockset
from roles.ops.bundle import bundle_path, bundle_tree
from roles.ops.files import Owner, config_file, folders, render
from roles.ops.machine import is_container, skip
from roles.ops.reboot import ask_for_reboot
from roles.ops.site import settings
from roles.ops.systems import get_host_system

HERE = Path(__file__).parent
NOUVEAU = "/etc/modprobe.d/90-dsops-nouveau.conf"
GATE = "dsops-driver-gate.service"


@deploy("driver")
def driver() -> None:
    """Makes the server have the driver set that the inventory names; none where it names none."""
    said = settings(DriverSet)
    if not said.driver_lockset:
        return
    if is_container():
        skip("driver", "a container has its host's kernel, and its driver")
        return
    wanted = get_wanted(said)
    name = wanted.lockset.name
    folders(name="driver: folders", wanted={FOLDER: Owner("755"), SETS: Owner("755")})
    bundle_tree(f"drivers/{name}", path=f"{SETS}/{name}")
    config_file(name="driver: nouveau off", path=NOUVEAU, content=(HERE / "templates/nouveau.conf").read_text())
    unit = render(HERE / f"templates/{GATE}.j2", limit=said.driver_gate_failures)
    config_file(name="driver: gate", path=f"/etc/systemd/system/{GATE}", content=unit)
    # Before the set: a power cut in the middle of it must find somebody who finishes it.
    at_boot(name="driver: gate at boot", unit=GATE)
    lockset(name="driver: set", wanted=wanted, _serial=True, _timeout=5400)
    why = f"driver set {name} is on the disk, another one runs"
    ask_for_reboot(name="driver: reboot", role="driver", why=why, live=f"[ ! -e {TURNED} ]")


def get_wanted(said: DriverSet) -> Carried:
    """Raises DeployError, with every reason, before any change."""
    try:
        if said.driver_gate_failures < 1:
            what = f"should be 1 or more, is {said.driver_gate_failures}"
            raise DsopsError(what, where="driver_gate_failures", mend="2 is the default")
        wanted = read_carried(bundle_path(), said.driver_lockset)
    except DsopsError as error:
        raise DeployError(f"{host.name}/{error}\n  mend: {error.mend}") from error
    cards, system = host.get_fact(CardsFact), get_host_system().name
    findings = find_problems(wanted, system=system, cards=cards, engines=said.driver_engines)
    for one in findings:
        if not one.refuses:
            logger.warning(f"[{host.name}] {one.says}; {one.mend}")
    if why := render_refusal(findings):
        raise DeployError(f"{host.name}: {said.driver_lockset} cannot work here:\n  {why}\n  nothing was changed")
    return wanted
