"""The topology compiler: what a server's PCI tree, GPUs and network cards are, and what NCCL and UCX must be told."""
