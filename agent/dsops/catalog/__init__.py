"""What is known of models, GPUs and engines: data with its source and date, and the functions that read it."""
