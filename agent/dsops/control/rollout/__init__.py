"""Brings one release over a fleet from the control host: the runner, what it must not forget, and its doors."""
