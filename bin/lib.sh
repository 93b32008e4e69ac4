# What bin/demo and bin/test share: packages, the Python environment, and telling how long things took. POSIX sh.

root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/.venv
# PyTorch has one of its own: it is large, and nothing but the kernels' tests needs it.
torch_venv=$root/.torch-venv
torch_seconds=180
dsops=$venv/bin/dsops

# What a control host and the lab need from Debian. The lab and the bundle say so themselves when one is missing.
packages="python3 python3-venv git openssh-client apt-utils gnupg ca-certificates gcc libc6-dev mmdebstrap
    systemd-container iproute2 nftables debian-archive-keyring e2fsprogs procps"
# What bin/test needs beyond: machines with kernels of their own, and file systems for the storage role's tests.
metal_packages="qemu-system-x86 xfsprogs"

say() { printf '\n== %s\n' "$*"; }

refuse() { printf 'error: %s\n  mend: %s\n' "$1" "$2" >&2; exit 1; }

check_system() {
    [ "$(id -u)" = 0 ] || refuse "this needs root: it boots servers on this machine" "sudo $0"
    [ -r /etc/os-release ] || refuse "this system does not say what it is (/etc/os-release)" "use Debian 12"
    # shellcheck source=/dev/null
    system=$(. /etc/os-release && echo "${ID:-} ${VERSION_ID:-}")
    [ "$system" = "debian 12" ] || refuse "the lab runs on Debian 12; this is $system" "use a machine with Debian 12"
}

ensure_packages() {
    missing=
    for package in $packages; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "Debian packages:$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of names
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

find_python() {
    for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    refuse "no Python 3.11 or newer with venv" "apt-get install python3 python3-venv"
}

# is_installed LOCK VENV: whether the venv holds what the lock names today.
is_installed() { [ "$(cat "$2/.lock-$1" 2>/dev/null)" = "$(sum_lock "$1")" ]; }

sum_lock() { cat "$root/locks/$1.lock" "$root/pyproject.toml" | sha256sum | cut -c1-64; }

# pip_install LOCK VENV [SECONDS]: what the lock names, with its hashes and nothing else; 124 when it took too long.
pip_install() {
    [ -x "$2/bin/python" ] || "$(find_python)" -m venv "$2"
    status=0
    said=$(timeout --foreground "${3:-0}" "$2/bin/python" -m pip install -qq --require-hashes --only-binary :all: \
        --no-deps -r "$root/locks/$1.lock" 2>&1) || status=$?
    printf '%s' "$said" |
        grep -v -e "it is neither a file nor a directory" -e "Running pip as the 'root' user" >&2 || true
    return "$status"
}

# ensure_venv LOCK: installs what the lock names, unless that is there already.
ensure_venv() {
    ! is_installed "$1" "$venv" || return 0
    say "Python packages ($1)"
    pip_install "$1" "$venv" || true
    "$venv/bin/python" - "$root" <<'PYTHON'
import pathlib, stat, sys, sysconfig
root = pathlib.Path(sys.argv[1])
site = pathlib.Path(sysconfig.get_path("purelib"))
(site / "dsops-checkout.pth").write_text(f"{root}/agent\n")
command = pathlib.Path(sysconfig.get_path("scripts")) / "dsops"
command.write_text(f"#!{sys.executable}\nfrom dsops.main import main\n\nmain()\n")
command.chmod(command.stat().st_mode | 0o111)
PYTHON
    "$venv/bin/python" -c "import click, dsops.main" || refuse "the Python packages did not install" "see the lines above"
    sum_lock "$1" > "$venv/.lock-$1"
}

# ensure_torch: PyTorch and Triton-lang for the kernels. Where they cannot be had it fails, and $lack says why.
ensure_torch() {
    ! is_installed kernels "$torch_venv" || return 0
    say "Python packages (kernels)"
    status=0
    pip_install kernels "$torch_venv" "$torch_seconds" || status=$?
    lack="PyTorch and Triton-lang were not installed, see the lines above"
    [ "$status" != 124 ] || lack="PyTorch and Triton-lang were not installed within $torch_seconds s"
    [ "$status" = 0 ] || return 1
    lack="PyTorch and Triton-lang do not start here, see the lines above"
    "$torch_venv/bin/python" -c "import torch, triton" || return 1
    sum_lock kernels > "$torch_venv/.lock-kernels"
}

# ensure_bundle: the lab's keys, and all that its servers will ever get.
ensure_bundle() {
    say "keys and certificates of the lab"
    "$dsops" secrets -i "$root/inventory/lab.py"
    "$dsops" secrets -i "$root/inventory/metal.py"
    say "the bundle: all that the servers will ever get"
    "$dsops" bundle build --lab --root "$root"
}

# ensure_lab: five servers up, their secrets made, the bundle built and everything deployed.
ensure_lab() {
    say "five servers without a way out"
    # On a machine that only runs this, a lab left by another checkout is nobody's any more.
    "$dsops" lab up ${CI:+--take-over}
    ensure_bundle
    say "provisioning"
    "$dsops" deploy -i "$root/inventory/lab.py" --root "$root"
    [ -z "${CI:-}" ] || "$dsops" epoch adopt gpu1 gpu2 gpu3 --reason "a lab taken over" -i "$root/inventory/lab.py"
}
