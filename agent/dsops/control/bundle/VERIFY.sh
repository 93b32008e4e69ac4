#!/bin/sh
# Proves a bundle with nothing but sha256sum and ssh-keygen (and find, sed, sort, grep, which every system has).
#   sh VERIFY.sh ALLOWED_SIGNERS [NAMESPACE [BUNDLE]]
# ALLOWED_SIGNERS comes from your security team, never out of this bundle. Best done with a copy of this script that
# you trust, and BUNDLE as the folder to prove; without BUNDLE it proves the folder that it lies in.
set -eu
export LC_ALL=C
allowed=${1:?usage: sh VERIFY.sh ALLOWED_SIGNERS [NAMESPACE [BUNDLE]]}
namespace=${2:-dsops-bundle@v1}
case $allowed in /*) ;; *) allowed=$PWD/$allowed ;; esac
CDPATH='' cd -- "${3:-$(dirname -- "$0")}"
fail() { printf 'REFUSED: %s\n  mend: do not use this bundle; fetch it again\n' "$1" >&2; exit 1; }

command -v ssh-keygen >/dev/null || fail "ssh-keygen is not installed here, so nothing can be proven"
[ -f "$allowed" ] || fail "there is no list of allowed signers at $allowed"
odd=$(find . ! -type f ! -type d) || fail "a folder cannot be read"
[ -z "$odd" ] || fail "neither a plain file nor a folder: $odd"
[ -f SHA256SUMS ] && [ -f SHA256SUMS.sig ] || fail "there are no sums, or no signature over them"
signer=$(ssh-keygen -Y find-principals -f "$allowed" -s SHA256SUMS.sig 2>/dev/null | sed -e 's/,.*//' -e 1q) || true
[ -n "$signer" ] || fail "signed by nobody whom $allowed allows"
ssh-keygen -Y verify -q -f "$allowed" -I "$signer" -n "$namespace" -s SHA256SUMS.sig < SHA256SUMS >/dev/null 2>&1 ||
    fail "the signature does not fit the sums (or is not for $namespace)"

if grep -Eqv '^[0-9a-f]{64}  []A-Za-z0-9_@%+=:,./() ~#[{}!^-]+$' SHA256SUMS; then
    fail "the sums hold a line that is none, or an unsafe path"
fi
twice=$(sed 's/^[0-9a-f]*  //' SHA256SUMS | sort -f | uniq -di)
[ -z "$twice" ] || fail "two names that some file systems take for one: $twice"
bad=$(sha256sum --check --strict --quiet SHA256SUMS 2>&1) || fail "changed or missing:
$bad"
here=$(find . -type f ! -path ./SHA256SUMS ! -path ./SHA256SUMS.sig | sed 's|^\./||' | sort)
signed=$(sed 's/^[0-9a-f]*  //' SHA256SUMS | sort)
[ "$here" = "$signed" ] || fail "files that nobody signed are in it (compare SHA256SUMS with find)"
printf 'OK: %s files, signed by %s for %s\n' "$(grep -c . SHA256SUMS)" "$signer" "$namespace"
