"""Checks of the GPUs, their links to each other and to the server."""

from dataclasses import replace

from dsops.node.checks.gpus import ecc, heat, links, pcie, recovery, rows, settings, speed, sweep, work

# What is looked at with each sweep is not looked at with each tick.
SECONDS = 5.0
_SEEN_BY_SWEEP = (
    *recovery.CHECKS,
    *ecc.CHECKS,
    *rows.CHECKS,
    *heat.CHECKS,
    *speed.CHECKS,
    *settings.CHECKS,
    *work.CHECKS,
    *links.CHECKS,
    *pcie.CHECKS,
)
CHECKS = (*sweep.CHECKS, *(replace(one, every=SECONDS) for one in _SEEN_BY_SWEEP))
