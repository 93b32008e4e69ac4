"""`python -m dsops.node.helper [--config /etc/dsops/store.toml] [--socket PATH] [--check]`: systemd starts it."""

# argparse, because a rollback may wait for this start: it comes with Python and is there at once.
import argparse
import os
import sys
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.helper.desk import build_desk, write_log
from dsops.node.helper.keeper import build_keeper
from dsops.node.helper.server import Server, get_listener
from dsops.node.run import run
from dsops.node.store.config import PATH, read_store_config
from dsops.node.store.disk import Disk
from dsops.node.store.ledger import Ledger


def main() -> None:
    """Serves until nobody asks."""
    parser = argparse.ArgumentParser(prog="dsops-helper", description=__doc__)
    parser.add_argument("--config", type=Path, default=PATH)
    parser.add_argument("--socket", type=Path, default=None)
    parser.add_argument("--check", action="store_true")
    said = parser.parse_args()
    try:
        config = read_store_config(said.config)
        if said.check:
            print(f"{said.config}: ok")
            return
        folder = os.environ.get("RUNTIME_DIRECTORY")
        seen = Path(folder) / "seen.json" if folder else None
        ledger = Ledger(config.root, Disk(), log=write_log)
        desk = build_desk(config, disk=Disk(), run=run, seen=seen, ledger=ledger)
        desk.moves.begin()
        ledger.begin()
        desk.releases.clean_staging(at=desk.now())
        server = Server(desk, get_listener(said.socket), keeper=build_keeper(desk))
        server.serve()
        while not ledger.flush():
            server.serve()  # what hangs in the disk could not end, and the next one could not begin
    except DsopsError as error:
        print(f"error: {error}\n  mend: {error.mend}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
