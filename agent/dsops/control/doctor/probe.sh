# Looks at a server for `dsops doctor`: prints key=value lines, changes nothing, sends nothing.
# Run as root by `sh -c`, so POSIX, and short enough for one command line. Every process costs on a busy server, and
# there are 200 of them: the shell reads by itself what it can, and the kernel's files come by one process at the end.
LC_ALL=C
export LC_ALL
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

put() { printf '%s=%s\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null 2>&1; }
# Names of the kernel's files have no spaces, so that a list of them is a string, patterns and all.
files='/proc/cmdline /proc/sys/kernel/tainted /proc/sys/kernel/osrelease /run/reboot-required.pkgs /run/dsops-reboot/*'
links=''

put probe 3
put now "$(date +%s.%N)"
put uid "$(id -u)"
machine=$(uname -m)
put arch "$machine"
[ -r /etc/os-release ] && (
    # shellcheck disable=SC1091
    . /etc/os-release
    put os.ID "$ID"
    put os.VERSION_ID "$VERSION_ID"
)
state=$(timeout 9 systemctl is-system-running 2>/dev/null)
put systemd "$state"
if [ "$state" = degraded ]; then
    systemctl --failed --plain --no-legend 2>/dev/null | sed 's/^/failed=/; s/ .*//'
fi
awk '/^(MemTotal|SwapTotal|SwapFree):/ { sub(":", "", $1); print "kib." $1 "=" $2 }' /proc/meminfo

# Kernel: is it the newest that is installed, what booted it, does anybody ask for a reboot?
put virt "$(systemd-detect-virt 2>/dev/null)"
for path in /boot/vmlinuz-*; do [ -e "$path" ] && put kernel.installed "${path#/boot/vmlinuz-}"; done
[ -e /run/reboot-required ] && put reboot yes
if [ -d /sys/firmware/efi ]; then
    put firmware uefi
    variable=/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
    case $(od -An -tu1 -j4 -N1 "$variable" 2>/dev/null) in *1) put 'secure boot' on ;; *0) put 'secure boot' off ;; esac
elif [ -d /sys/firmware ]; then
    put firmware bios
fi

# Processors and memory.
flags=$(sed -n '/^flags/{s/^[^:]*: *//p;q;}' /proc/cpuinfo)
case " $flags " in *' avx2 '*) put avx2 yes ;; *) put avx2 no ;; esac
put cpu.flags "$flags"
cpus=/sys/devices/system/cpu nodes=/sys/devices/system/node known=''
[ -e $cpus/cpu0/topology/thread_siblings_list ] &&
    known="$cpus/cpu[0-9]*/topology/physical_package_id $cpus/cpu[0-9]*/topology/thread_siblings_list"
[ -e $cpus/cpu0/cpufreq/scaling_governor ] && known="$known $cpus/cpu[0-9]*/cpufreq/scaling_governor"
[ -e $nodes/node0/meminfo ] && known="$known $nodes/node[0-9]*/meminfo"
# shellcheck disable=SC2086
[ -z "$known" ] || awk '
    FILENAME ~ /package_id$/ { if (!seen["p" $0]++) sockets++ }
    FILENAME ~ /siblings_list$/ { threads++; if (!seen["s" $0]++) cores++ }
    FILENAME ~ /governor$/ && !seen["g" $0]++ { print "cpu.governor=" $0 }
    /MemTotal/ { print "numa=" $0 }
    END { print "cpu.sockets=" sockets + 0; print "cpu.cores=" cores + 0; print "cpu.threads=" threads + 0 }
' $known
files="$files $cpus/vulnerabilities/* $nodes/node[0-9]*/cpulist"

# Free space where it will be needed: at the nearest folder above that is there already.
paths='/var/lib/dsops /var/lib /opt/dsops' folders=''
for path in $paths; do
    while [ ! -d "$path" ]; do path=${path%/*}; path=${path:-/}; done
    folders="$folders $path"
done
# shellcheck disable=SC2086
df -Pk $folders | awk -v paths="$paths" '
    BEGIN { split(paths, path, " ") } NR != 1 { print "disk=" path[NR - 1], $6, $2, $4 }'
for path in /var/lib/dsops/releases/* /var/lib/dsops/bundle/*/* /opt/dsops/triton /opt/dsops/venv /opt/dsops/engines/*; do
    [ -e "$path" ] && put have "$path"
done
awk '$1 != "proc" && $2 !~ /^\/(proc|sys|dev)/ { print "mount=" $2 " " $4 }' /proc/mounts

# Who listens: address, pid, process, unit.
if has ss; then
    put listeners yes
    ss -Hltnp | while read -r _ _ _ address _ users; do
        pid='' name='' unit=''
        case $users in
            *pid=*) pid=${users#*pid=}; pid=${pid%%,*}; name=${users#*\"}; name=${name%%\"*} ;;
        esac
        [ -r "/proc/$pid/cgroup" ] && while IFS= read -r line; do
            case $line in *.service|*.socket|*.scope) unit=${line##*/}; break ;; esac
        done 2>/dev/null <"/proc/$pid/cgroup"
        put listen "$address ${pid:--} ${unit:--} $name"
    done
fi
for pair in nginx.service:/etc/nginx/nginx.conf prometheus.service:/etc/default/prometheus \
    prometheus-alertmanager.service:/etc/default/prometheus-alertmanager; do
    first=''
    [ -r "${pair#*:}" ] && read -r first <"${pair#*:}"
    case $first in *'Written by dsops'*) put ours "${pair%%:*}" ;; esac
done

# Who has apt's or dpkg's lock files open: at work, or waiting to be.
seen=' '
find /proc/[0-9]*/fd -lname '/var/lib/dpkg/lock*' -o -lname /var/lib/apt/lists/lock -o \
    -lname /var/cache/apt/archives/lock 2>/dev/null | while IFS=/ read -r _ _ pid _; do
    case $seen in *" $pid "*) continue ;; esac
    seen="$seen$pid " name=''
    [ -r "/proc/$pid/comm" ] && read -r name <"/proc/$pid/comm"
    put lock "$pid $name"
done
upgrades=no
if [ -x /usr/bin/unattended-upgrade ] && has apt-config; then
    value=''
    eval "$(apt-config shell value APT::Periodic::Unattended-Upgrade)"
    [ -z "$value" ] || [ "$value" = 0 ] || upgrades=yes
fi
put upgrades "$upgrades"

# Clock: who keeps it, and in which time the hardware's runs.
has chronyc && put chrony "$(timeout 2 chronyc -n -c tracking 2>/dev/null)"
[ -e /run/systemd/timesync/synchronized ] && put timesyncd yes
[ -r /etc/adjtime ] && { read -r _; read -r _; read -r line; } </etc/adjtime && [ "$line" = LOCAL ] && put rtc local

# Cards for the network, and whatever else has an address.
addresses=$(has ip && ip -o addr show scope global | awk '{ print "address=" $2 " " $4 }')
[ -z "$addresses" ] || printf '%s\n' "$addresses"
for path in /sys/class/net/*; do
    if [ ! -e "$path/device" ]; then
        case $addresses in *"address=${path##*/} "*) ;; *) continue ;; esac
    fi
    for file in operstate carrier speed duplex mtu; do files="$files $path/$file"; done
    links="$links $path/device/driver"
done
for file in state rate link_layer; do files="$files /sys/class/infiniband/*/ports/*/$file"; done

# GPUs and NVLink switches: on PCI even without a driver, with the bridges above them.
bridges='' nvidia=''
# shellcheck disable=SC2013
for path in $(grep -ls 0x10de /sys/bus/pci/devices/*/vendor); do
    device=${path%/vendor}
    read -r class <"$device/class"
    case $class in 0x0300*|0x0302*|0x0680*) ;; *) continue ;; esac
    [ -e "$device/physfn" ] && continue # a slice of another one
    nvidia=yes links="$links $device $device/driver"
    for file in class device numa_node current_link_width max_link_width current_link_speed max_link_speed resource \
        iommu_group/type; do
        files="$files $device/$file"
    done
    above=$(readlink -f "$device")
    above=${above%/*}
    while :; do
        case ${above##*/} in *:??:??.?) ;; *) break ;; esac
        case "$bridges " in *" $above "*) break ;; esac
        bridges="$bridges $above"
        above=${above%/*}
    done
done
[ -e /sys/kernel/iommu_groups/0 ] && sort /sys/kernel/iommu_groups/*/type 2>/dev/null | uniq -c | sed 's/^ */iommu=/'
[ -d /sys/module/nouveau ] && put nouveau yes
[ -x /usr/bin/nvidia-uninstall ] && put runfile yes
if [ "$nvidia" ]; then
    files="$files /sys/module/nvidia/version"
    for path in $bridges; do put config "${path##*/} $(base64 -w 0 "$path/config" 2>/dev/null)"; done
    dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' '*nvidia*' 'libcuda1*' 'cuda-drivers*' \
        'datacenter-gpu-manager*' 2>/dev/null | sed -n 's/^installed /package=/p'
    for unit in nvidia-fabricmanager nvidia-dcgm dcgm dcgm-exporter gpud; do
        put unit "$unit $(systemctl is-active "$unit" 2>/dev/null)"
    done
fi

# Through NVML too, which hangs on broken drivers.
count='import ctypes as c
n = c.CDLL("libnvidia-ml.so.1"); i = c.c_uint(); e = n.nvmlInit_v2() or n.nvmlDeviceGetCount_v2(c.byref(i))
print("error %d" % e if e else i.value)'
if [ -e "/usr/lib/$machine-linux-gnu/libnvidia-ml.so.1" ] || grep -qs 'libnvidia-ml\.so\.1' /etc/ld.so.cache; then
    if has python3; then
        said=$(timeout -k 1 8 python3 -c "$count" 2>/dev/null)
    elif has nvidia-smi; then
        said=$(timeout -k 1 8 nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU ')
    else
        said=unasked # a fresh server has no Python
    fi
    put gpus.nvml "${said:-no answer}"
fi

awk '$2 == "00000000" && $8 == "00000000" { print "route=" $1; exit }' /proc/net/route
[ -r /proc/net/ipv6_route ] &&
    awk '$2 == "00" && $1 ~ /^0+$/ && $10 != "lo" { print "route=" $10; exit }' /proc/net/ipv6_route
sed -n 's/^nameserver */resolver=/p' /etc/resolv.conf 2>/dev/null
# Each file's text and each link's end, as sys=PATH<tab>TEXT.
# shellcheck disable=SC2086
grep -sHZ '' $files | sed 's/^/sys=/; s/\x00/\t/'
# shellcheck disable=SC2086
[ -z "$links" ] || find $links -maxdepth 0 -type l -printf 'sys=%p\t%l\n' 2>/dev/null
put end 1
