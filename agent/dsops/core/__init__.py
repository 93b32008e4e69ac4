"""Pure code that both sides share: no clock, no I/O, no processes."""
