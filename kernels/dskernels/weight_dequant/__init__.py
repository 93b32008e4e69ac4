"""e4m3 weights with scales of 128x128 blocks to bf16, for GPUs without e4m3 tensor cores."""
