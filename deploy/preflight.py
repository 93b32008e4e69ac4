"""Only looks: lock, inventory, bundle and every server, as each deploy does first, and then ends without a change."""

from roles.ops.site import start_site

start_site()
