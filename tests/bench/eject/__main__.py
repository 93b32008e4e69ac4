"""How soon a bad server is out, and what it costs: dsops beside haproxy and nginx with their default checks.

Run by `make eject-times` on the lab that `bin/demo` leaves; 12 minutes, as root. It fetches Debian's haproxy and nginx
once and unpacks them below build/.

- The peers run on this machine, without any help of dsops: they stand before plain Tritons on the lab's nodes, which
  nothing watches and nothing starts again (plain.py). For each fault they have one bad server of three.
- dsops is the lab's own: load balancer, gateways, agents, and the Triton of gpu2 with the traffic.

A round: a steady load of short questions through each of the 13 ways at once; then an engine killed, one frozen, one
that answers wrongly, and an Xid 79 in gpu2's kernel log. The peers are watched for 90 s; gpu2 of dsops meanwhile gets
the four faults one after the other, and is well again before each. Peers start afresh in every round.
Everything shares one machine: ratios carry over, milliseconds do not.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dsops.core.errors import DsopsError

from tests.bench.eject import plain
from tests.bench.eject.asks import make_openai_front
from tests.bench.eject.measure import Outcome
from tests.bench.eject.ours import wait_back
from tests.bench.eject.peers import ensure_programs
from tests.bench.eject.plain import NODE
from tests.bench.eject.rounds import Bench, Key, play
from tests.bench.eject.table import find_trouble, render
from tests.live.moves import Shelf, bring
from tests.live.site import ADDRESSES, ROOT, SECRETS, dsops, end_bake, restore
from tests.live.test_truth_drills import mend

BUILD = ROOT / "build/bench-eject"
MOST_TROUBLE = 20


def main() -> None:
    """Measures, prints the table; exit status 1 when dsops left a bad server in, or a round was broken off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    count = parser.parse_args().rounds
    rounds: list[dict[Key, Outcome]] = []
    trouble: list[str] = []
    try:
        measure(count, rounds, trouble)
    except (AssertionError, DsopsError, OSError, subprocess.SubprocessError) as error:
        trouble.append(f"broken off: {error}")  # what was measured until then is told
    print(render(rounds))
    bad = find_trouble(rounds)
    print(*trouble[:MOST_TROUBLE], *bad, sep="\n")
    sys.exit(1 if bad or len(rounds) < count else 0)


def measure(count: int, rounds: list[dict[Key, Outcome]], trouble: list[str]) -> None:
    """So many rounds, each added as it ends; the lab is as before afterwards."""
    programs = ensure_programs(BUILD)
    restore()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            release = bring(Shelf(folder)["calm"], NODE)  # it can be made to answer wrongly
            end_bake(NODE)
            mend(NODE)  # what an earlier run counted
            wait_back(release)
            secrets = {"key_file": SECRETS / "operators-api-key", "ca_file": SECRETS / "ca.pem"}
            service = make_openai_front(ADDRESSES["lb1"], 443, **secrets)
            with plain.plain_tritons():
                bench = Bench(programs, plain.make_pools(), service, release)
                for number in range(1, count + 1):
                    since = time.monotonic()
                    rounds.append(play(bench, folder / f"round-{number}", trouble))
                    print(f"round {number} of {count}: {time.monotonic() - since:.0f} s", flush=True)
    finally:
        dsops("lab", "fault", NODE, "mend")  # a run that was broken off may leave a GPU that is ill
        restore()


if __name__ == "__main__":
    main()
