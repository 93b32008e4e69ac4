"""The openvino engine: continuous batching inside Triton's Python backend."""
