"""Requests lost while releases change places under load: windows without changes, with dsops' flips, and with reloads.

Run by `make swaps` on the lab that `bin/demo` leaves; 10 minutes. Clients ask for tiny answers, half of them as
streams, over kept connections, through the balancer and the gateways of the three gpu nodes. In turn:

- no swaps: nothing moves.
- flips: on each node another release comes in as a canary (its slot starts), its share goes 1, 5, 25, 50, 100 %, and a
  rollback leads back to the slot that is still warm: one start and stop, and six flips between slots that both run.
- reloads: on each node the Triton that serves loads the same model again with another configuration, by its own
  repository API, while it serves: what one does without dsops. There and back too, in as many seconds, and nothing is
  proven before traffic comes to it.

All windows run on the same Tritons: for this run they are started with explicit model control, which dsops' own
Tritons refuse. Everything, clients too, shares one machine: counts and ratios carry over, milliseconds do not.
"""

import argparse
import asyncio
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench.swaps.clients import Clients, Service, Window
from tests.bench.swaps.nodes import Counts, flip, prepared, reload
from tests.bench.swaps.renames import tracing
from tests.bench.swaps.table import BETWEEN, CALM, FLIPS, RELOADS, count_answers, find_faults, render
from tests.live.site import GPUS, SECRETS

CALM_SECONDS = 8.0
REST_SECONDS = 2.0
MOST_TROUBLE = 20


def main() -> None:
    """Measures, prints the table; exit status 1 when dsops lost something, or something was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, help="at least so many answers")
    parser.add_argument("--warm", type=int, default=180, help="at least so many flips; a sixth as many starts")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--rate", type=float, default=200, help="requests a second of all clients")
    said = parser.parse_args()
    context = ssl.create_default_context(cafile=str(SECRETS / "ca.pem"))
    service = Service("10.99.0.10", 443, (SECRETS / "operators-api-key").read_text().strip(), context)
    clients, counts = Clients(service, count=said.clients, rate=said.rate), Counts()
    with tempfile.TemporaryDirectory() as folder, prepared(Path(folder)) as twin, tracing() as trace:
        asyncio.run(measure(clients, twin, counts, requests=said.requests, warm=said.warm))
        turns = trace.read() if trace else None
        print(render(clients.windows, counts, turns), flush=True)
    sys.exit(1 if find_faults(clients.windows, counts) else 0)


async def measure(clients: Clients, twin: str, counts: Counts, *, requests: int, warm: int) -> None:
    """Rounds of all kinds of windows, until there are enough answers and flips."""
    task = asyncio.create_task(clients.run())
    await asyncio.sleep(REST_SECONDS)
    while counts.warm < warm or count_answers(clients.windows) < requests:
        await watch(clients, CALM, least=CALM_SECONDS)
        flips = await watch(clients, FLIPS, partial(flip, release=twin, counts=counts))
        await watch(clients, CALM, least=CALM_SECONDS)
        await watch(clients, RELOADS, partial(reload, seconds=flips.seconds, counts=counts), least=flips.seconds)
        answers, lost = count_answers(clients.windows), sum(len(window.lost) for window in clients.windows)
        print(f"{answers} answers, {lost} lost; {counts.warm} flips, {len(counts.reloads)} reloads", flush=True)
        if len(counts.trouble) > MOST_TROUBLE:
            break
    clients.stop()
    await task


async def watch(clients: Clients, name: str, act: Callable[[str], None] | None = None, *, least: float = 0.0) -> Window:
    """One window, with what is done to all nodes at once in it; then a pause for what it left behind."""
    window = clients.begin(name)
    if act:
        await asyncio.gather(*(asyncio.to_thread(act, node) for node in GPUS))
    await asyncio.sleep(max(0.0, least - (time.monotonic() - window.began)))
    clients.begin(BETWEEN)
    await asyncio.sleep(REST_SECONDS)
    return window


if __name__ == "__main__":
    main()
