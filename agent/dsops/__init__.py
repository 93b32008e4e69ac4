"""dsops takes bare GPU servers from a fresh OS to a dependable DeepSeek service, and keeps them there."""

__version__ = "0.1.0"
