"""Says of each release that is listed whether one of its passports was made on such hardware as this server has."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from dsops.core.decode import decode
from dsops.core.passport import Hardware, Policy


class Fit(StrEnum):
    """What a release's passports say of this hardware.

    damaged: none fits, and one of them cannot be read. missing: there is none, and this site demands one.
    """

    FITS = "fits"
    OTHER = "other"
    NONE = "none"
    MISSING = "missing"
    DAMAGED = "damaged"


def add_fits(said: Mapping[str, Any], hardware: Hardware | None) -> dict[str, Any]:
    """The helper's list with `fit` and `fit_says` at each release; "" where nobody can say what this server has."""
    demands = said.get("passport") == Policy.DEMANDED
    releases = [one | _judge(one.get("passports", ()), hardware, demands=demands) for one in said["releases"]]
    return dict(said) | {"releases": releases}


def _judge(passports: Any, hardware: Hardware | None, *, demands: bool) -> dict[str, str]:
    if hardware is None:
        return {"fit": "", "fit_says": ""}
    kinds = [decode(Hardware, one["hardware"], where="passports") for one in passports if one["hardware"]]
    if any(kind.fits(hardware) for kind in kinds):
        return {"fit": Fit.FITS, "fit_says": f"for {hardware.says}"}
    if damage := next((one["damage"] for one in passports if one["damage"]), ""):
        return {"fit": Fit.DAMAGED, "fit_says": damage}
    if kinds:
        made = " and ".join(dict.fromkeys(kind.says for kind in kinds))
        return {"fit": Fit.OTHER, "fit_says": f"made on {made}, this node has {hardware.says}"}
    if demands:
        return {"fit": Fit.MISSING, "fit_says": "there is none, and this site demands one"}
    return {"fit": Fit.NONE, "fit_says": ""}
