"""e4m3 x e4m3 -> bf16 with scales of 1x128 and 128x128: the format of DeepSeek-V3 and R1 checkpoints."""
