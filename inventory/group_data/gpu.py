"""What gpu servers share. The lab simulates two GPUs each."""

agent_gpus = 2
