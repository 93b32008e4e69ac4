"""The lab's machines with kernels of their own (`dsops lab up --metal`): one to serve, one to balance."""

gpu = [
    ("metal1", {"ssh_hostname": "10.99.0.31"}),
]
lb = [
    ("metal2", {"ssh_hostname": "10.99.0.32"}),
]
