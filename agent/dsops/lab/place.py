"""Where a lab lies and who is in it: its folder, its bridge, its addresses, its servers."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

# Everything that the lab starts carries this variable: how its processes are found again, whatever happened
# to the files that describe them. It is never read as a setting.
MARK = "DSOPS_LAB_PART"


@dataclass(frozen=True)
class Server:
    name: str
    number: int  # last part of its address
    disk_gb: int = 2  # of /var/lib/dsops, sparse
    gpus: int = 0
    is_metal: bool = False  # a real machine with a kernel of its own (qemu), not a container


@dataclass(frozen=True)
class Lab:
    """One lab. The bridge's name is its tag: machines, units and control groups are named after it."""

    root: Path
    bridge: str
    subnet: IPv4Network
    servers: tuple[Server, ...]
    base: Path  # cache of base systems, which labs may share
    guests: tuple[Server, ...] = ()  # machines with kernels of their own; `dsops lab up --metal` boots them

    @property
    def everyone(self) -> tuple[Server, ...]:
        return (*self.servers, *self.guests)

    @property
    def gateway(self) -> IPv4Address:
        """The machine's own address on the bridge, where the sink listens."""
        return self.subnet[1]

    @property
    def subnet6(self) -> IPv6Network:
        """IPv6 too leads to the sink; a private network made from the IPv4 one, so that labs differ."""
        high, low = divmod(int(self.subnet.network_address) >> 8, 1 << 16)
        return IPv6Network((0xFD64_7300_0000 << 80 | high << 80 | low << 64, 64))

    @property
    def gateway6(self) -> IPv6Address:
        return self.subnet6[1]

    @property
    def rail(self) -> IPv4Network:
        """A second network that only the guests are on, for what runs between GPU servers; no way out at all."""
        return IPv4Network((int(self.subnet.network_address) - (1 << 16), 24))

    @property
    def rail_bridge(self) -> str:
        return f"{self.bridge}r"

    def rail_address(self, server: Server) -> IPv4Address:
        return self.rail[server.number]

    def address(self, server: Server) -> IPv4Address:
        return self.subnet[server.number]

    def address6(self, server: Server) -> IPv6Address:
        return self.subnet6[server.number]

    def find_server(self, name: str) -> Server | None:
        return next((server for server in self.everyone if server.name == name), None)

    def names(self) -> dict[str, str]:
        """Address (both families) to server name."""
        return dict(self._addresses())

    def _addresses(self) -> Iterator[tuple[str, str]]:
        for server in self.everyone:
            yield str(self.address(server)), server.name
            yield str(self.address6(server)), server.name

    def home(self, server: Server) -> "Home":
        return Home(self.root / "hosts" / server.name)

    def machine(self, server: Server) -> str:
        return f"{self.bridge}-{server.name}"

    def unit(self, part: str) -> str:
        return f"dsops-lab-{self.bridge}-{part}.service"

    def mark(self, part: str) -> str:
        return f"{self.root}:{part}"

    # The files of the lab as a whole.
    @property
    def hosts(self) -> Path:
        return self.root / "hosts"

    @property
    def sink(self) -> Path:
        return self.root / "sink"

    @property
    def key(self) -> Path:
        return self.root / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.root / "ssh" / "known_hosts"


@dataclass(frozen=True)
class Home:
    """The files of one server on the lab's machine."""

    path: Path

    @property
    def upper(self) -> Path:  # what the server changed, over the base
        return self.path / "upper"

    @property
    def work(self) -> Path:  # overlayfs's own
        return self.path / "work"

    @property
    def root(self) -> Path:  # mount point: the server's /
        return self.path / "root"

    @property
    def image(self) -> Path:  # the disk behind /var/lib/dsops
        return self.path / "data.img"

    @property
    def data(self) -> Path:  # mount point of the image
        return self.path / "data"

    @property
    def gpus(self) -> Path:  # state of the simulated GPUs
        return self.path / "gpus"

    def disk(self, name: str) -> Path:  # of a guest: root, nvme, sata
        return self.path / f"{name}.img"

    @property
    def console(self) -> Path:
        return self.path / "console.log"

    @property
    def prepared(self) -> Path:  # written last: what is here is whole, and over which base
        return self.path / "prepared"


SERVERS = (
    Server("lb1", 10),
    Server("gpu1", 11, disk_gb=8, gpus=2),
    Server("gpu2", 12, disk_gb=8, gpus=2),
    Server("gpu3", 13, disk_gb=8, gpus=2),
    Server("mon1", 20),
)
ROOT = Path("/var/lib/dsops-lab")
GUESTS = (
    Server("metal1", 31, disk_gb=4, is_metal=True),
    Server("metal2", 32, disk_gb=4, is_metal=True),
)
LAB = Lab(ROOT, "dsops0", IPv4Network("10.99.0.0/24"), SERVERS, ROOT / "base", GUESTS)
