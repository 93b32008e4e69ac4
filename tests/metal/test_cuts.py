"""Power and cable cut in the middle of the roles that change a machine most; the next deploy makes it good."""

import pytest

from tests.metal.cuts import deploy_until, plugged_in_again
from tests.metal.machine import Machine, timed

pytestmark = [pytest.mark.metal, pytest.mark.thorough, pytest.mark.timeout(1800)]
# Role, operation, and how many seconds into it.
EARLY = (("base: packages", 3.0), ("base: packages", 12.0), ("base: dsops", 8.0))
LATE = (
    ("storage: hot tier", 0.3),
    ("storage: hot tier", 1.5),
    ("storage: hot tier", 4.0),
    ("storage: cold tier", 1.0),
    ("swap: file", 0.5),
    ("swap: file", 3.0),
    ("swap: in use", 0.2),
)


def check_whole(machine: Machine, *, what: str) -> None:
    """A deploy makes it good, the next one changes nothing, and every promise of the roles holds."""
    with timed(f"made good after {what}"):
        machine.deploy_first()
    assert machine.deploy_first().changed == 0
    machine.verify_first()


@pytest.mark.parametrize(("operation", "after"), EARLY)
def test_a_power_cut_on_a_fresh_os_is_made_good(fresh: Machine, operation: str, after: float) -> None:
    check_power_cut(fresh, operation, after=after)


@pytest.mark.parametrize(("operation", "after"), LATE)
def test_a_power_cut_while_disks_and_swap_are_made_is_made_good(based: Machine, operation: str, after: float) -> None:
    check_power_cut(based, operation, after=after)


def check_power_cut(machine: Machine, operation: str, *, after: float) -> None:
    """Cuts the power some seconds into an operation."""
    deploy_until(machine, operation, machine.cut_power, after=after, patience=120)
    machine.start()
    check_whole(machine, what=f"a power cut in {operation} +{after:g} s")


def test_a_cable_pulled_in_the_middle_ends_that_deploy_in_words_and_the_next_makes_it_good(fresh: Machine) -> None:
    with plugged_in_again(fresh) as unplug, timed("end of a deploy whose cable was pulled"):
        said = deploy_until(fresh, "base: packages", unplug, after=3, patience=180)
    assert "connection lost" in said
    check_whole(fresh, what="a pulled cable")
