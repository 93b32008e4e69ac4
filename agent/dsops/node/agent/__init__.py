"""The agent: reads what a server does each second, judges it, and shows it read-only over HTTP."""
