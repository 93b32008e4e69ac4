"""Cuts between servers: the rules, and what a bridge really does with them."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.lab import cuts
from dsops.lab.place import LAB

LB1, GPU1, GPU2 = LAB.servers[:3]
# Three servers on a bridge, in networks that end with it. Nobody listens: who answers "refused" was reached.
TRY = """
set -e
ip link add br0 type bridge stp_state 0 forward_delay 0
ip link set br0 up; ip address add 10.99.0.1/24 dev br0
for n in 10 11 12; do
  unshare --net sleep 30 & eval "p$n=$!"; pid=$!
  while [ "$(readlink /proc/$pid/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
  ip link add v$n type veth peer name e0 netns $pid; ip link set v$n master br0 up
  nsenter -t $pid -n sh -c "ip link set e0 up; ip address add 10.99.0.$n/24 dev e0"
done
try() {
  timeout 0.5 bash -c "exec 3<>/dev/tcp/10.99.0.$1/9" 2>/dev/null || [ $? != 124 ] && echo "$2 reached" || echo "$2 cut"
}
from() { pid=$1; shift; nsenter -t "$pid" -n bash -c "$(declare -f try); try $*"; }
all() {
  from $p11 10 gpu1-lb1; from $p10 11 lb1-gpu1; from $p11 12 gpu1-gpu2; from $p10 12 lb1-gpu2; try 11 operator-gpu1
}
nft -f "$1"; all
nft delete table bridge "$2"; echo joined; all
kill $p10 $p11 $p12
"""


def test_a_cut_names_both_ways_and_both_families() -> None:
    rules = cuts.render_cut(LAB, GPU1, [LB1, GPU2])
    assert "ip saddr 10.99.0.11 ip daddr { 10.99.0.10, 10.99.0.12 } drop" in rules
    assert "ip daddr 10.99.0.11 ip saddr { 10.99.0.10, 10.99.0.12 } drop" in rules
    assert f"ip6 saddr {LAB.address6(GPU1)} ip6 daddr {{ {LAB.address6(LB1)}, {LAB.address6(GPU2)} }} drop" in rules
    assert rules.count(" drop") == 4


@pytest.mark.parametrize("name", ["gpu9", "gpu1"])
def test_one_is_cut_off_from_other_servers_of_the_lab_only(name: str) -> None:
    with pytest.raises(DsopsError, match="is no other server") as caught:
        cuts.part(LAB, GPU1, [name])
    assert "lb1, gpu2" in caught.value.mend


def test_a_cable_that_is_not_there_is_not_plugged_in() -> None:
    assert not cuts.plug_cable(replace(LAB, bridge="dsopsno0"), GPU1)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes networks of its own")
def test_a_bridge_cuts_off_who_is_named_and_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "cut").write_text(cuts.render_cut(LAB, GPU1, [LB1]))
    argv = ["unshare", "--net", "bash", "-c", TRY, "try"]
    words = [str(tmp_path / "cut"), cuts.table(LAB, GPU1)]
    done = subprocess.run([*argv, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    cut, joined = done.stdout.split("joined\n")
    assert cut.splitlines() == [
        "gpu1-lb1 cut", "lb1-gpu1 cut", "gpu1-gpu2 reached", "lb1-gpu2 reached", "operator-gpu1 reached",
    ]  # fmt: skip
    assert {line.split()[1] for line in joined.splitlines()} == {"reached"}
