"""MIG: GPUs divided into instances, at once while the node is drained and at every boot; each slot gets its own."""

from collections.abc import Sequence
from pathlib import Path

from dsops.catalog.mig import read_kinds
from dsops.core.errors import DsopsError
from dsops.core.mig import Part, check_bindings, find_places, parse_bindings, parse_layout
from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from roles.mig.defaults import Mig
from roles.mig.divide import UNIT, can_be_had, divided
from roles.ops.files import Owner, config_file, folders, render
from roles.ops.site import settings
from roles.ops.units import unit

HERE = Path(__file__).parent
CONFIG = "/etc/dsops/mig.toml"
DROP_IN = "/etc/systemd/system/triton@.service.d"


@deploy("mig")
def mig() -> None:
    """Makes the GPUs divided as the inventory asks for; where it does not ask, nothing is looked at or touched."""
    said = settings(Mig)
    if not said.mig_layouts and not said.mig_slots:
        return
    check_settings(said)
    can_be_had(name="mig: can be had", said=said, _timeout=120)
    content = render(HERE / "templates/mig.toml.j2", said=said)
    config_file(name="mig: layout", path=CONFIG, content=content)
    service = (HERE / f"templates/{UNIT}").read_text()
    config_file(name="mig: at boot", path=f"/etc/systemd/system/{UNIT}", content=service)
    folders(name="mig: folder of slots", wanted={DROP_IN: Owner("755")})
    slots = (HERE / "templates/triton.conf").read_text()
    config_file(name="mig: slots know their device", path=f"{DROP_IN}/mig.conf", content=slots)
    # One node after the other: a node that is divided serves nothing.
    divided(name="mig: GPUs", said=said, _serial=True, _timeout=600)
    unit(name="mig: unit", unit_name=UNIT, seconds=300)


def check_settings(said: Mig) -> None:
    """Raises DeployError before any change, of what is wrong whatever GPUs the server has."""
    try:
        layouts = [parse_layout(text) for text in said.mig_layouts]
        bindings = parse_bindings(said.mig_slots)
        for parts in layouts:
            check_somewhere(parts)
        if len(layouts) > 1:
            check_bindings(bindings, layouts)
        elif not layouts:
            raise DsopsError("slots without layouts", where="mig_slots", mend='mig_layouts = ("off",) for whole GPUs')
    except DsopsError as error:
        mend = f"{error.mend or 'see roles/mig/README.md'}; nothing was changed"
        raise DeployError(f"{host.name}/mig: {error}\n  mend: {mend}") from error


def check_somewhere(parts: Sequence[Part]) -> None:
    """Raises DsopsError when no GPU that is known could be divided so, with what the nearest one lacks."""
    errors = []
    for kind in read_kinds():
        try:
            find_places(kind, parts)
        except DsopsError as error:
            errors.append(error)
        else:
            return
    raise next((one for one in errors if "has no profile" not in one.what), errors[0])
