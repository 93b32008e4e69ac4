"""The whole site, in order: `pyinfra inventory/lab.py deploy/site.py` (or `dsops deploy`)."""

from pyinfra import host

from roles.agent.deploy import agent
from roles.base.deploy import base
from roles.engine.deploy import engine
from roles.gateway.deploy import gateway
from roles.helper.deploy import helper
from roles.monitoring.deploy import monitoring
from roles.nginx.deploy import nginx
from roles.ops.site import start_site
from roles.triton.deploy import triton

if start_site():
    base()
    if "gpu" in host.groups:
        triton()
        helper()
        engine()
        gateway()
    if "lb" in host.groups:
        nginx()
    if "mon" in host.groups:
        monitoring()
    agent()
