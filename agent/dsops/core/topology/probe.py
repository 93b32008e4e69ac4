"""What a server is asked for its topology: one POSIX shell script whose answer is a recording. Pure.

It runs as root over SSH or as a fact of the role, changes nothing and sends nothing. Each part of its answer begins
with `== NAME`; a part is also a file of a recording's folder (`NAME.txt`).
"""

from collections.abc import Mapping

from dsops.core.errors import DsopsError

# `sys`: the kernel's files, PATH<tab>TEXT. The others: what the command of that name prints.
PARTS = ("sys", "kernel", "gpus", "topo", "addresses", "route", "cpu")
MARK = "== "
END = "end"

SCRIPT = r"""
LC_ALL=C; export LC_ALL
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
tell() {
    for f in "$@"; do
        [ -f "$f" ] && t=$(cat "$f" 2>/dev/null) && [ -n "$t" ] && printf '%s\t%s\n' "$f" "$t"
    done
    return 0
}
lead() { [ -e "$1" ] && printf '%s\t%s\n' "$1" "$(readlink -f "$1")"; return 0; }
seen=' '
device() {
    case $seen in *" $1 "*) return ;; esac
    seen="$seen$1 "
    lead "/sys/bus/pci/devices/$1"
    for k in class vendor device subsystem_vendor subsystem_device numa_node max_link_speed max_link_width; do
        tell "/sys/bus/pci/devices/$1/$k"
    done
}
echo '== sys'
for d in /sys/bus/pci/devices/*; do
    read -r class 2>/dev/null <"$d/class" || continue
    read -r vendor <"$d/vendor"
    case $class$vendor in 0x030[02]*0x10de | 0x020[07]*) ;; *) continue ;; esac
    [ -e "$d/physfn" ] && continue
    device "${d##*/}"
    above=$(readlink -f "$d"); above=${above%/*}
    while :; do
        case ${above##*/} in *:??:??.?) device "${above##*/}" ;; *) break ;; esac
        above=${above%/*}
    done
done
for d in /sys/class/infiniband/*; do
    [ -e "$d" ] || continue
    lead "$d/device"
    tell "$d/node_guid" "$d/parent"
    for p in "$d"/ports/*; do
        tell "$p/state" "$p/rate" "$p/link_layer"
        for g in "$p"/gids/*; do
            read -r gid 2>/dev/null <"$g" || continue
            case $gid in 0000:0000:0000:0000:0000:0000:0000:0000) continue ;; esac
            n=${g##*/}
            printf '%s\t%s\n' "$g" "$gid"
            tell "$p/gid_attrs/types/$n" "$p/gid_attrs/ndevs/$n"
        done
    done
done
for d in /sys/class/net/*; do
    lead "$d/device"; lead "$d/master"
    tell "$d/operstate" "$d/carrier" "$d/speed" "$d/type" "$d/bonding/slaves"
done
tell /sys/devices/system/node/node[0-9]*/cpumap
echo '== kernel'
uname -r
head -n 1 /proc/driver/nvidia/version 2>/dev/null
grep -qw ib_register_peer_memory_client /proc/kallsyms 2>/dev/null && echo peer-memory
[ -d /sys/module/mlx_compat ] && echo ofed
if command -v nvidia-smi >/dev/null 2>&1; then
    echo '== gpus'
    timeout -k 1 15 nvidia-smi --query-gpu=index,pci.bus_id,uuid,compute_cap,name --format=csv,noheader 2>/dev/null
    echo '== topo'
    timeout -k 1 15 nvidia-smi topo -m 2>/dev/null
fi
echo '== addresses'
command -v ip >/dev/null 2>&1 && ip -o addr show scope global 2>/dev/null
echo '== route'
awk '$2 == "00000000" && $8 == "00000000" { print $1 }' /proc/net/route 2>/dev/null
echo '== cpu'
uname -m
awk -F ': *' '/^(vendor_id|cpu family|model)[ \t]*:/ && !n[$1]++ { print $1 ": " $2 }' /proc/cpuinfo
echo '== end'
"""


def split_answer(text: str, *, where: str) -> Mapping[str, str]:
    """part -> its text. Raises DsopsError when the answer was cut short or is none."""
    parts: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith(MARK):
            name = line.removeprefix(MARK).strip()
            parts[name] = []
        elif name:
            parts[name].append(line)
    if END not in parts:
        raise DsopsError("its answer about its topology was cut short", where=where, mend="try again")
    return {name: "\n".join(lines) + "\n" for name, lines in parts.items() if name in PARTS}
