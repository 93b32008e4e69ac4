#!/bin/sh
# Runs one server where there is no systemd to do it: again after its reboot (systemd-nspawn's exit status 133).
# usage: supervise.sh "CGROUP..." COMMAND...
# Each boot gets control groups of its own: cgroup2 refuses processes beside the groups of an earlier boot.
groups=$1
shift
boot=0
status=133
while [ "$status" -eq 133 ]; do
  boot=$((boot + 1))
  # shellcheck disable=SC2016 # expanded by the inner shell, whose pid joins the groups
  sh -c '
    boot=$1 groups=$2
    shift 2
    for group in $groups; do
      mkdir -p "$group/boot$boot" && echo $$ >"$group/boot$boot/cgroup.procs"
    done
    exec "$@"
  ' start "$boot" "$groups" "$@"
  status=$?
done
exit "$status"
