"""Says all that stands in a deploy's way before it starts, and changes nothing."""
