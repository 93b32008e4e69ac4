#!/bin/sh
# Proves this bundle with nothing but sha256sum and ssh-keygen (and sort, find, sed, which every system has).
#   sh VERIFY.sh ALLOWED_SIGNERS [NAMESPACE]
# ALLOWED_SIGNERS comes from your security team, never out of this bundle. Best taken from a trusted copy of this script.
set -eu
allowed=${1:?usage: sh VERIFY.sh ALLOWED_SIGNERS [NAMESPACE]}
namespace=${2:-dsops-bundle@v1}
case $allowed in /*) ;; *) allowed=$PWD/$allowed ;; esac
cd "$(dirname "$0")"
fail() { printf 'REFUSED: %s\n  mend: do not use this bundle; fetch it again\n' "$1" >&2; exit 1; }

[ -f SHA256SUMS.sig ] || fail "there is no signature"
signer=$(ssh-keygen -Y find-principals -f "$allowed" -s SHA256SUMS.sig 2>/dev/null | sed -n 1p) || true
[ -n "$signer" ] || fail "signed by nobody whom $allowed allows"
ssh-keygen -Y verify -q -f "$allowed" -I "$signer" -n "$namespace" -s SHA256SUMS.sig < SHA256SUMS >/dev/null 2>&1 ||
    fail "the signature does not fit the sums (or is not for $namespace)"

odd=$(find . ! -type f ! -type d)
[ -z "$odd" ] || fail "neither a plain file nor a folder: $odd"
bad=$(sha256sum --check --strict --quiet SHA256SUMS 2>&1) || fail "changed or missing:
$bad"
here=$(find . -type f ! -path ./SHA256SUMS ! -path ./SHA256SUMS.sig | sed 's|^\./||' | LC_ALL=C sort)
signed=$(sed 's/^[0-9a-f]*  //' SHA256SUMS | LC_ALL=C sort)
[ "$here" = "$signed" ] || fail "files that nobody signed are in it (compare SHA256SUMS with find)"
printf 'OK: %s files, signed by %s for %s\n' "$(wc -l < SHA256SUMS)" "$signer" "$namespace"
