"""A deploy file for tests: the base role and nothing else."""

from roles.base.deploy import base
from roles.ops.site import start_site

if start_site():
    base()
