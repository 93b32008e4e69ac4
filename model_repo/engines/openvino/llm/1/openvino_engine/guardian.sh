#!/bin/sh
# Ends the tritonserver given by its pid when the engine's process dies: the pipe on stdin then closes without a word.
# Triton itself would stay READY, fail new requests and leave those under way hanging for ever; systemd restarts it.
trap '' TERM INT HUP

if read -r _; then # finalize says goodbye
    exit 0
fi
if [ "$(cat "/proc/$1/comm" 2>/dev/null)" = tritonserver ]; then
    echo "[openvino] the engine's process died; ending tritonserver ($1) so that it is started again" >&2
    kill -KILL "$1"
fi
