"""Divides this server's GPUs into instances (MIG) as its inventory says, and tells slots which are theirs."""
