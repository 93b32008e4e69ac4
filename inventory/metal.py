"""The lab's machines with kernels of their own (`dsops lab up --metal`).

Without KVM they are too slow to serve a model (the first answer takes longer than any probe waits), so that none is in
`gpu`: what they show is a fresh OS made fit, and what only a real kernel, real disks and real reboots show.
"""

machines = [
    ("metal1", {"ssh_hostname": "10.99.0.31"}),
    ("metal2", {"ssh_hostname": "10.99.0.32"}),
]
# The second one also has a service to run.
mon = ["metal2"]
