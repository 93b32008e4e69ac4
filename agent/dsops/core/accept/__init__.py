"""The acceptance of a node: what was measured, what it is judged by, and the certificate that says so. Pure."""
