# Looks at a server for `dsops doctor`: prints key=value lines, changes nothing, sends nothing.
# Run as root by `sh -c`, so POSIX, and short enough for one command line.
LC_ALL=C
export LC_ALL
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

say() { printf '%s=%s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')"; }
has() { command -v "$1" >/dev/null 2>&1; }

say probe 1
say now "$(date +%s.%N)"
say uid "$(id -u)"
say arch "$(uname -m)"
for key in ID VERSION_ID; do
    say "os.$key" "$(sed -n "s/^$key=//p" /etc/os-release 2>/dev/null | tr -d '"' | head -n 1)"
done
say systemd "$(systemctl is-system-running 2>/dev/null)"
say failed "$(systemctl --failed --plain --no-legend 2>/dev/null | cut -d' ' -f1 | tr '\n' ' ')"
if grep -qw avx2 /proc/cpuinfo; then say avx2 yes; else say avx2 no; fi
for key in MemTotal SwapTotal SwapFree; do
    say "kib.$key" "$(sed -n "s/^$key: *\([0-9]*\) kB$/\1/p" /proc/meminfo)"
done

# Free space where it will be needed: at the nearest folder above that is there already.
for path in /var/lib/dsops /var/lib /opt/dsops; do
    at=$path
    while [ ! -d "$at" ]; do at=${at%/*}; at=${at:-/}; done
    say disk "$path $(df -Pk "$at" | awk 'NR == 2 { print $6, $2, $4 }')"
done
for path in /var/lib/dsops/releases/* /var/lib/dsops/bundle/*/* /opt/dsops/triton /opt/dsops/venv /opt/dsops/engines/*; do
    [ -e "$path" ] && say have "$path"
done
awk '$1 != "proc" && $2 !~ /^\/(proc|sys|dev)/ { print "mount=" $2 " " $4 }' /proc/mounts

# Who listens: address, pid, process, unit.
if has ss; then
    say listeners yes
    ss -Hltnp | while read -r _ _ _ address _ users; do
        pid='' name=''
        case $users in
            *pid=*) pid=${users#*pid=}; pid=${pid%%,*}; name=${users#*\"}; name=${name%%\"*} ;;
        esac
        unit=$(sed -n 's#.*/\([^/]*\.\(service\|socket\|scope\)\)$#\1#p' "/proc/$pid/cgroup" 2>/dev/null | head -n 1)
        say listen "$address ${pid:--} ${unit:--} $name"
    done
fi
for pair in nginx.service:/etc/nginx/nginx.conf prometheus.service:/etc/default/prometheus \
    prometheus-alertmanager.service:/etc/default/prometheus-alertmanager; do
    head -n 1 "${pair#*:}" 2>/dev/null | grep -q 'Written by dsops' && say ours "${pair%%:*}"
done

# Who has apt's or dpkg's lock files open: at work, or waiting to be.
locks='/var/(lib/dpkg/lock(-frontend)?|lib/apt/lists/lock|cache/apt/archives/lock)$'
# shellcheck disable=SC2012 # one process for all descriptors
ls -l /proc/[0-9]*/fd 2>/dev/null |
    awk -v locks=" -> $locks" '/^\/proc\// { split($0, part, "/"); pid = part[3] } $0 ~ locks { print pid }' |
    sort -un | while read -r pid; do
        say lock "$pid $(cat "/proc/$pid/comm" 2>/dev/null)"
    done
upgrades=no
if [ -x /usr/bin/unattended-upgrade ] && has apt-config; then
    value=''
    eval "$(apt-config shell value APT::Periodic::Unattended-Upgrade)"
    [ -z "$value" ] || [ "$value" = 0 ] || upgrades=yes
fi
say upgrades "$upgrades"

# GPUs: on PCI even without a driver, and through NVML, which hangs on broken drivers.
pci=0
for device in /sys/bus/pci/devices/*; do
    read -r vendor 2>/dev/null <"$device/vendor" || continue
    read -r class <"$device/class"
    case $vendor:$class in 0x10de:0x0300*|0x10de:0x0302*) pci=$((pci + 1)) ;; esac
done
say gpus.pci "$pci"
count='import ctypes as c
n = c.CDLL("libnvidia-ml.so.1"); i = c.c_uint(); e = n.nvmlInit_v2() or n.nvmlDeviceGetCount_v2(c.byref(i))
print("error %d" % e if e else i.value)'
if ldconfig -p 2>/dev/null | grep -q 'libnvidia-ml\.so\.1'; then
    if has python3; then
        said=$(timeout -k 1 8 python3 -c "$count" 2>/dev/null)
    else
        said=$(timeout -k 1 8 nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU ')
    fi
    say gpus.nvml "${said:-no answer}"
fi

say route "$(
    awk '$2 == "00000000" && $8 == "00000000" { print $1; exit }' /proc/net/route
    awk '$2 == "00" && $1 ~ /^0+$/ && $10 != "lo" { print $10; exit }' /proc/net/ipv6_route 2>/dev/null
)"
say end 1
