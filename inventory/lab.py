"""The lab's servers (`dsops lab up`). How ssh reaches any lab or site stands in group_data/."""

lb = [
    ("lb1", {"ssh_hostname": "10.99.0.10"}),
]
gpu = [
    ("gpu1", {"ssh_hostname": "10.99.0.11"}),
    ("gpu2", {"ssh_hostname": "10.99.0.12"}),
    ("gpu3", {"ssh_hostname": "10.99.0.13"}),
]
mon = [
    ("mon1", {"ssh_hostname": "10.99.0.20"}),
]
