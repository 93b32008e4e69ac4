"""The root helper: the only writer of a node's store, and the only one that starts and stops its slots."""
