"""What dsops checks on a server: one file a check, each a pure function of what was sampled."""
