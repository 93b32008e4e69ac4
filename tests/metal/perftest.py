"""What `ib_write_bw` and `ib_write_lat` printed, against the link and against the line for latency. Pure."""

from dataclasses import dataclass

from dsops.core.errors import DsopsError

# Between nodes, with RDMA (the guides on private deployments: 0.5 ms at 10 Gb/s). In microseconds.
LINE_USEC = 500.0


@dataclass(frozen=True)
class Latency:
    """Microseconds, one way."""

    typical: float
    average: float
    worst: float

    @property
    def is_within(self) -> bool:
        """Whether the typical message is below the line."""
        return self.typical < LINE_USEC


def parse_bandwidth(text: str, *, where: str) -> float:
    """The average in the unit that the program was asked for. Raises DsopsError when there is no figure."""
    return _find_row(text, "BW average", where=where)[3]


def parse_latency(text: str, *, where: str) -> Latency:
    """Raises DsopsError when there is no figure."""
    row = _find_row(text, "t_typical", where=where)
    return Latency(typical=row[4], average=row[5], worst=row[3])


def _find_row(text: str, head: str, *, where: str) -> list[float]:
    """The row of figures below the head."""
    _, found, rest = text.partition(head)
    for line in rest.splitlines()[1:] if found else ():
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            continue
        if len(row) >= 4:
            return row
    said = (text.strip().splitlines() or ["nothing"])[-1]
    mend = "is the port ACTIVE on both sides (`ibv_devinfo`), and do firewalls let 18515/tcp and, for RoCE, 4791/udp?"
    raise DsopsError(f"it measured nothing; it said: {said}", where=where, mend=mend)
