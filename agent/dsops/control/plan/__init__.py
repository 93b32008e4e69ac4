"""A change as a ticket: planned by a dry run, kept as a file, applied in waves behind gates."""
