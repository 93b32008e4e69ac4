"""GPU drivers as one pinned set: what it holds, what it fits, whether a boot of it is good, when a node goes back."""
