"""What the peers stand before: Tritons as one starts them without dsops, on the lab's nodes, with the same releases.

One on gpu1 and one on gpu3 that stay well, and on gpu2 one for each fault, so that all faults can be there at once and
each pool still has one bad server of three. No agent knows of them, no gateway answers for them, nothing starts them
again. They listen on the lab's network, which dsops' own do not.
"""

import itertools
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from tests.bench.eject.peers import PEERS, Pool
from tests.live.faults import Fault, find_slot, get_pid, strike
from tests.live.site import ADDRESSES, GPUS, on, ssh, wait
from tests.ports import find_free_ports

NODE = "gpu2"
KILLED, FROZEN, XID, WRONG = "engine killed", "engine frozen", "Xid 79", "wrong answers"
FAULTS = (KILLED, FROZEN, XID, WRONG)
WELL_PORT = 8300
BAD_PORTS = {XID: 8310, KILLED: 8320, FROZEN: 8330, WRONG: 8340}
# Until the server's next boot at most. The environment is as a slot's; what differs is who may come, and Restart.
SET_UP = """
set -e
mkdir -p /run/dsops-eject /run/systemd/system
sed 's/--http-address=127.0.0.1/--http-address=0.0.0.0/' /opt/dsops/bin/dsops-triton > /run/dsops-eject/dsops-triton
cat > /run/systemd/system/dsops-eject@.service <<UNIT
[Unit]
Description=A plain Triton at port %i, for a bench
[Service]
User=triton
Group=triton
Environment=DSOPS_TRITON_PORT=%i DSOPS_MODELS=$(readlink -f /var/lib/dsops/slots/SLOT)/models
ExecStart=/bin/sh /run/dsops-eject/dsops-triton a
Restart=no
KillMode=mixed
KillSignal=SIGKILL
CacheDirectory=dsops-eject/%i
CacheDirectoryMode=0700
LimitNOFILE=65536
TemporaryFileSystem=/dev/shm:mode=1777
PrivateTmp=yes
UNIT
systemctl daemon-reload
! nft list chain inet dsops input >/dev/null 2>&1 ||
    nft insert rule inet dsops input ip saddr 10.99.0.1 tcp dport 8300-8349 accept comment \\"dsops-eject\\"
systemctl start UNITS
"""
TAKE_AWAY = """
systemctl kill --signal=KILL 'dsops-eject@*'
systemctl stop 'dsops-eject@*'
systemctl reset-failed 'dsops-eject@*'
rm -rf /run/dsops-eject /run/systemd/system/dsops-eject@.service /var/cache/dsops-eject
systemctl daemon-reload
nft -a list chain inet dsops input | sed -n 's/.*"dsops-eject" # handle //p' | while read -r handle; do
    nft delete rule inet dsops input handle "$handle"
done
true
"""
MEND = f"""
set -e
rm -f /var/cache/dsops-eject/*/ill
systemctl kill --signal=KILL dsops-eject@{BAD_PORTS[FROZEN]} || true
systemctl reset-failed 'dsops-eject@*' || true
systemctl restart dsops-eject@{BAD_PORTS[KILLED]} dsops-eject@{BAD_PORTS[FROZEN]}
"""
LOAD_SECONDS = 90.0


def get_ports(node: str) -> list[int]:
    return list(BAD_PORTS.values()) if node == NODE else [WELL_PORT]


def make_pools() -> dict[str, Pool]:
    """By fault."""
    ports = itertools.count(find_free_ports(len(FAULTS) * len(PEERS)))
    return {
        fault: Pool(fault.replace(" ", "-"), find_members(fault), {peer: next(ports) for peer in PEERS})
        for fault in FAULTS
    }


def find_members(fault: str) -> dict[str, str]:
    """The three servers before which the peers stand, for this fault."""
    return {node: f"{ADDRESSES[node]}:{BAD_PORTS[fault] if node == NODE else WELL_PORT}" for node in GPUS}


@contextmanager
def plain_tritons() -> Iterator[None]:
    """All six, ready; gone afterwards."""
    try:
        _each(_set_up)
        wait_ready()
        yield
    finally:
        _each(lambda node: ssh(node, TAKE_AWAY))


def make_faults() -> Mapping[str, Fault]:
    """What is done to the plain ones; an Xid is in the node's own log, and no Triton's matter."""
    return {
        KILLED: partial(_signal, BAD_PORTS[KILLED], "KILL"),
        FROZEN: partial(_signal, BAD_PORTS[FROZEN], "STOP"),
        WRONG: partial(strike, NODE, f"echo wrong > /var/cache/dsops-eject/{BAD_PORTS[WRONG]}/ill"),
    }


def mend() -> None:
    """All of them well again, those that were killed or frozen in a new life."""
    on(NODE, MEND)
    wait_ready()


def wait_ready() -> None:
    for node in GPUS:
        for port in get_ports(node):
            wait(f"plain Triton {node}:{port}", partial(_is_ready, node, port), seconds=LOAD_SECONDS)


def _is_ready(node: str, port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://{ADDRESSES[node]}:{port}/v2/health/ready", timeout=2).close()
    except OSError:
        return False
    return True


def _signal(port: int, name: str) -> float:
    return strike(NODE, f"kill -{name} {get_pid(NODE, f'dsops-eject@{port}')}")


def _set_up(node: str) -> None:
    units = " ".join(f"dsops-eject@{port}" for port in get_ports(node))
    on(node, SET_UP.replace("SLOT", find_slot(node)).replace("UNITS", units))


def _each(act: Callable[[str], object]) -> None:
    with ThreadPoolExecutor(len(GPUS)) as pool:
        list(pool.map(act, GPUS))
