"""The GPU driver on a server: changed as one set, judged after each boot, taken back by itself; as root."""
