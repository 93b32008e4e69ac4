"""The checks of what is served: answers, speed, errors, queues, caches, and the memory of the engines' processes."""

from dsops.node.checks.check import Check
from dsops.node.checks.serving import creep, errors, garbage, kv_cache, nans, page, queue, speed

CHECKS: tuple[Check, ...] = (
    garbage.CHECK,
    nans.CHECK,
    errors.CHECK,
    speed.CHECK,
    queue.CHECK,
    kv_cache.CHECK,
    creep.CHECK,
    page.CHECK,
)
