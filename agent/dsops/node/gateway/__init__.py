"""The OpenAI-compatible door in front of Triton's slots, a process of its own on every gpu server."""
