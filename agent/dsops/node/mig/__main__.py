"""`python -m dsops.node.mig plan|apply`: divides the GPUs of this server; dsops-mig.service and a deploy run it."""

# argparse, because slots wait for this at boot: it comes with Python and is there at once.
import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dsops.core.errors import DsopsError
from dsops.node.mig.apply import (
    DRAIN,
    Host,
    Wanted,
    apply,
    find_rebound,
    find_running,
    find_traffic,
    make_plan,
    render_device,
    tell_rebound,
)
from dsops.node.mig.driver import open_driver
from dsops.node.run import run
from dsops.node.sources.config import read_config

CONFIG = Path("/etc/dsops/mig.toml")
FOLDER = Path("/run/dsops-mig")
SOCKET = Path("/run/dsops/gateway.sock")


def main() -> None:
    """Prints what would change, or what was changed."""
    parser = argparse.ArgumentParser(prog="dsops-mig", description=__doc__)
    parser.add_argument("verb", choices=["plan", "apply"])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--layout", action="append", default=[], help="instead of the configuration's; for plan")
    parser.add_argument("--slot", action="append", default=[], help="with --layout")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--socket", type=Path, default=SOCKET)
    said = parser.parse_args()
    host = Host(said.folder, said.socket, run)
    try:
        wanted = Wanted(tuple(said.layout), tuple(said.slot)) if said.layout else read_config(said.config, Wanted)
        if said.verb == "plan":
            print(json.dumps(tell_plan(wanted, host)))
            return
        with open_driver() as driver:
            done = apply(wanted, driver, host)
        print("\n".join(done) or "as wanted")
    except DsopsError as error:
        print(f"error: {error}\n  mend: {error.mend}", file=sys.stderr)
        sys.exit(1)


def tell_plan(wanted: Wanted, host: Host) -> dict[str, Any]:
    """changes: one line for each. refused: why it cannot be had; traffic: why it cannot be now. devices: of slots."""
    nothing: dict[str, Any] = {"changes": [], "refused": "", "traffic": "", "devices": {}}
    try:
        with open_driver() as driver:
            plan = make_plan(wanted, driver)
    except DsopsError as error:
        return nothing | {"refused": f"{error}; {error.mend}".removesuffix("; ")}
    if plan.says:
        return nothing | {"changes": plan.says, "traffic": tell_traffic(host)}
    devices = {slot: render_device(plan, slot, plan.gpus).strip() for slot in plan.bindings}
    slots = find_rebound(plan, host)
    traffic = tell_traffic(host) if find_running(slots, host) else ""
    return nothing | {"changes": tell_rebound(plan, slots), "traffic": traffic, "devices": devices}


def tell_traffic(host: Host) -> str:
    """Why the GPUs cannot be divided now, with its mend; "" when they can."""
    why = find_traffic(host)
    return f"{why}; {DRAIN}" if why else ""


if __name__ == "__main__":
    main()
