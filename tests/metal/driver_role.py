"""A deploy file for tests: the base role and the driver role, with everything that comes before a site's roles."""

from roles.base.deploy import base
from roles.driver.deploy import driver
from roles.ops.site import start_site

if start_site():
    base()
    driver()
