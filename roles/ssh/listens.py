"""Where sshd listens: the port is the site's own, and pyinfra's key."""

from roles.ops.listens import Listen

LISTENS = (Listen("ssh_port", 22, "ssh", on="all", reached_from=("control",)),)
