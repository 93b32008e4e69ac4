"""What perftest printed."""

import pytest
from dsops.core.errors import DsopsError

from tests.metal.perftest import parse_bandwidth, parse_latency

BANDWIDTH = """
                    RDMA_Write BW Test
 Dual-port       : OFF		Device         : rxe0
 Link type       : Ethernet
---------------------------------------------------------------------------------------
 #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]
Conflicting CPU frequency values detected: 2400.000000 != 2500.000000. CPU Frequency is not max.
 65536      1000             46.50              46.12		   0.000738
---------------------------------------------------------------------------------------
"""
LATENCY = """
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99%[usec]
 2       1000          180.10         2210.55      231.20     	       240.02        31.55		300.10
---------------------------------------------------------------------------------------
"""


def test_bandwidth_and_latency_are_read_from_what_the_programs_print() -> None:
    assert parse_bandwidth(BANDWIDTH, where="metal1") == 46.12
    found = parse_latency(LATENCY, where="metal1")
    assert (found.typical, found.average, found.worst) == (231.2, 240.02, 2210.55)
    assert found.is_within
    assert not parse_latency(LATENCY.replace("231.20", "731.20"), where="metal1").is_within


@pytest.mark.parametrize("text", ["", "Couldn't connect to 10.98.0.2:18515\n Unable to init the socket connection\n"])
def test_a_measurement_that_measured_nothing_says_what_it_said(text: str) -> None:
    with pytest.raises(DsopsError, match="metal1: it measured nothing; it said: ") as caught:
        parse_bandwidth(text, where="metal1")
    assert "4791/udp" in caught.value.mend
