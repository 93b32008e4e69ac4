"""Certificates of nodes on the control host: made, signed, kept, compared, and shown."""
