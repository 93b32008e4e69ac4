#!/bin/sh
# Writes every lock again from pyproject.toml and the .in files (needs uv: `pip install uv`).
set -eu
cd "$(dirname "$0")/.."
lock() {
    platform=$1
    shift
    uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --python-version 3.11 --python-platform "x86_64-manylinux_$platform" "$@"
}
lock 2_28 pyproject.toml -o locks/node.lock
lock 2_28 pyproject.toml --extra control -o locks/control.lock
lock 2_28 pyproject.toml --extra control --extra test -o locks/dev.lock
lock 2_28 --no-deps locks/engine-openvino.in -o locks/engine-openvino.lock
lock 2_36 --no-deps locks/triton.in -o locks/triton.lock
# uv knows nothing of where pip looks.
UV_FIND_LINKS=${UV_FIND_LINKS-${PIP_FIND_LINKS-}} lock 2_28 locks/kernels.in -o locks/kernels.lock
