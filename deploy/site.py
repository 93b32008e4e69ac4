"""The whole site, in order: `pyinfra inventory/lab.py deploy/site.py` (or `dsops deploy`)."""

from pyinfra import host

from roles.agent.deploy import agent
from roles.base.deploy import base
from roles.container.deploy import container
from roles.driver.deploy import driver
from roles.engine.deploy import engine
from roles.firewall.deploy import firewall
from roles.gateway.deploy import gateway
from roles.helper.deploy import helper
from roles.mig.deploy import mig
from roles.monitoring.deploy import monitoring
from roles.nginx.deploy import nginx
from roles.ops.site import end_site, start_site
from roles.rdma.deploy import rdma
from roles.ssh.deploy import ssh
from roles.storage.deploy import storage
from roles.swap.deploy import swap
from roles.system.deploy import system
from roles.triton.deploy import triton

if start_site():
    base()
    storage()
    swap()
    system()
    driver()
    rdma()
    ssh()
    firewall()
    if "gpu" in host.groups:
        triton()
        mig()
        container()
        helper()
        engine()
        gateway()
    if "lb" in host.groups:
        nginx()
    if "mon" in host.groups:
        monitoring()
    agent()
    end_site()
