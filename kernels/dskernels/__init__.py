"""Kernels for quantized DeepSeek models on NVIDIA GPUs, each beside its reference, bench and measured figures."""
