"""Where the node's readings come from: in each file one function reads and one judges."""
