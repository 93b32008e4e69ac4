"""All checks, in the order in which `dsops doctor` shows them."""

from dsops.node.checks import gpus, host, serving
from dsops.node.checks.check import Check

CHECKS: tuple[Check, ...] = (*gpus.CHECKS, *host.CHECKS, *serving.CHECKS)
