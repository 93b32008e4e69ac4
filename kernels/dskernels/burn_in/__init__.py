"""Whether a GPU computes and remembers what it should, and how fast: the checks behind a node's acceptance."""
