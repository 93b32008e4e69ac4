#!/bin/sh
# Writes every lock again from pyproject.toml and the .in files (needs uv: `pip install uv`).
set -eu
cd "$(dirname "$0")/.."
lock() { uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --python-version 3.11 "$@"; }
common="--python-platform x86_64-manylinux_2_28"
lock $common pyproject.toml -o locks/node.lock
lock $common pyproject.toml --extra control -o locks/control.lock
lock $common pyproject.toml --extra control --extra test -o locks/dev.lock
lock $common --no-deps locks/engine-openvino.in -o locks/engine-openvino.lock
lock --python-platform x86_64-manylinux_2_36 --no-deps locks/triton.in -o locks/triton.lock
