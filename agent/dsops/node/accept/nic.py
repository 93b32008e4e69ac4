"""The network interfaces that carry this server's addresses: are their links up, and how fast."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dsops.core.accept.measured import Figure, Gap, Lack, Taken
from dsops.core.errors import DsopsError
from dsops.node.run import Run

SYS = Path("/sys/class/net")
IP = ["ip", "-json", "address", "show"]


def measure_nic(addresses: Sequence[str], *, run: Run, sys: Path = SYS) -> Taken:
    """The slowest of them. addresses: of this server in the inventory; where no interface has them, all real ones."""
    try:
        names = find_interfaces(list_interfaces(run), addresses, sys=sys)
    except DsopsError as error:
        return Taken(gaps=(Gap("nic", Lack.UNREAD, str(error)),))
    if not names:
        return Taken(gaps=(Gap("nic", Lack.UNREAD, f"no interface has {', '.join(addresses) or 'an address'}"),))
    down = [name for name in names if _read(sys / name / "operstate") not in ("up", "unknown")]
    if down:
        return Taken(figures=(Figure("nic", 0, "Mb/s", bound=1),))
    speeds = {name: speed for name in names if (speed := read_speed(sys / name)) is not None}
    if not speeds:
        why = f"{', '.join(names)} is up and tells no speed: it is virtual"
        return Taken(gaps=(Gap("nic", Lack.OTHER, why),))
    return Taken(figures=(Figure("nic", min(speeds.values()), "Mb/s"),))


def list_interfaces(run: Run) -> list[dict[str, Any]]:
    """As `ip` tells them. Raises DsopsError."""
    done = run(IP)
    try:
        if done.code:
            raise ValueError(done.stderr.strip())
        return [one for one in json.loads(done.stdout) if one.get("ifname")]
    except (ValueError, AttributeError, TypeError) as error:
        raise DsopsError(f"`{' '.join(IP)}` says nothing that can be read ({error})") from error


def find_interfaces(listed: Sequence[dict[str, Any]], addresses: Sequence[str], *, sys: Path = SYS) -> list[str]:
    """Their names: those with one of the addresses, else those that are real and have one at all."""
    held = {
        one["ifname"]: {str(info.get("local")) for info in one.get("addr_info", ()) if info.get("scope") == "global"}
        for one in listed
    }
    named = [name for name, own in held.items() if own & set(addresses)]
    return named or [name for name, own in held.items() if own and (sys / name / "device").exists()]


def read_speed(folder: Path) -> float | None:
    """Mb/s; None where the kernel does not know."""
    with suppress(ValueError):
        speed = int(_read(folder / "speed"))
        return speed if speed > 0 else None
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
