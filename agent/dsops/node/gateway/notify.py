"""Tells systemd how this service stands (Type=notify)."""

import socket


def sd_notify(text: str, *, door: str | None) -> None:
    """Sends e.g. READY=1 to NOTIFY_SOCKET's value; does nothing without one."""
    if door:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.connect("\0" + door[1:] if door.startswith("@") else door)
            out.send(text.encode())
