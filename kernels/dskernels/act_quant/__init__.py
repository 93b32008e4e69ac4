"""bf16 activations to e4m3 with one scale for each 1x128 group, alone or fused with what comes before it."""
