"""The servers of example: who they are, and how to reach them. What they share stands in group_data/example.py.

Plain data in pyinfra's own form, read by `dsops` and by `pyinfra inventory/example.py deploy/site.py` alike.
A server is ("name", {its own data}); what stands here wins over group_data. Change addresses and names to yours.
Other lists that are no group of servers begin with an underscore.
"""

# The balancers: Nginx with TLS, the one address that clients know.
lb = [
    ("lb1", {"ssh_hostname": "192.0.2.10"}),
]

# The servers with GPUs: Triton, the engine, the gateway. agent_gpus: how many this one must have.
gpu = [
    ("gpu1", {"ssh_hostname": "192.0.2.11", "agent_gpus": 8}),
    ("gpu2", {"ssh_hostname": "192.0.2.12", "agent_gpus": 8}),
    # A server behind two networks: managed at ssh_hostname, reached by the other servers at dsops_address.
    ("gpu3", {"ssh_hostname": "192.0.2.13", "dsops_address": "198.51.100.13", "agent_gpus": 4}),
]

# Monitoring: Prometheus and Alertmanager. One is enough.
mon = [
    ("mon1", {"ssh_hostname": "192.0.2.20"}),
]
