"""bf16 x bf16 with fp32 sums, from the simplest kernel to the tensor cores: the lesson, and the load of burn_in."""
