"""bf16 activations times 4-bit weights with one scale and one zero point for each 128 of K: few rows, for decoding."""
