"""The lab's servers (`dsops lab up`). How ssh reaches any lab or site stands in group_data/."""

lb = [
    ("lb1", {"ssh_hostname": "10.99.0.10"}),
]
gpu = [
    ("gpu1", {"ssh_hostname": "10.99.0.11", "agent_gpus": 2}),
    ("gpu2", {"ssh_hostname": "10.99.0.12", "agent_gpus": 2}),
    ("gpu3", {"ssh_hostname": "10.99.0.13", "agent_gpus": 2}),
]
mon = [
    ("mon1", {"ssh_hostname": "10.99.0.20"}),
]
