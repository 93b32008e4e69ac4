"""The servers as the operator sees them: who they are, and how to reach them, all at once."""
