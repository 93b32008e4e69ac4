"""How this server's GPUs can be divided, as their driver says it, beside what the catalog says; changes nothing.

`PYTHONPATH=agent python3 -m tests.lab.compare_mig` in a checkout, as root; it needs nvidia-ml-py. Of a GPU that the
catalog lacks, or has otherwise, it prints the entry for catalog/mig.toml. Exit status: 0 all that can be divided are
as the catalog says, 1 one is not, 2 none can be divided, 3 the driver or a GPU did not answer.
"""

import sys

from dsops.catalog.mig import find_kind
from dsops.core.errors import DsopsError
from dsops.core.mig import Kind, Profile
from dsops.core.mig_plan import Gpu
from dsops.node.mig.driver import Driver, open_driver

SAME, OTHERWISE, NO_MIG, NO_ANSWER = range(4)


def render(gpu: Gpu, told: tuple[Profile, ...]) -> str:
    """The GPU's entry in the catalog, as its driver says it."""
    slices = max((start + one.size for one in told for start in one.starts), default=0)
    head = f'[[kinds]]\nname = "{gpu.name}"\nids = ["{gpu.id}"]\nslices = {slices}\nprofiles = [\n'
    return head + "".join(f"  {render_profile(one)},\n" for one in told) + "]"


def render_profile(profile: Profile) -> str:
    starts = list(profile.starts)
    words = f'name = "{profile.name}", id = {profile.id}, size = {profile.size}, starts = {starts}'
    return f"{{ {words}, most = {profile.most}, memory_mib = {profile.memory_mib} }}"


def compare(kind: Kind | None, told: tuple[Profile, ...]) -> list[str]:
    """What the catalog has otherwise, a line each."""
    have = {one.name: one for one in (kind.profiles if kind else ())}
    more = sorted(set(have) - {one.name for one in told})
    wrong = [f"{one.name}: the driver says otherwise" for one in told if one.name in have and have[one.name] != one]
    missing = [f"{one.name}: not in the catalog" for one in told if one.name not in have]
    return [*wrong, *missing, *(f"{name}: not on this GPU" for name in more)]


def tell(driver: Driver, gpu: Gpu) -> int:
    """Prints one GPU; an exit status."""
    where = f"GPU {gpu.index} ({gpu.name}, {gpu.id})"
    if gpu.lack or gpu.mode is None:
        print(f"{where}: {gpu.lack or 'it has no MIG'}")
        return NO_ANSWER if gpu.lack else NO_MIG
    told = driver.read_profiles(gpu)
    wrong = compare(find_kind(gpu.id), told)
    print(f"{where}: {len(told)} profiles, {len(wrong)} not as in the catalog")
    print("\n".join([*wrong, render(gpu, told)]))
    return OTHERWISE if wrong else SAME


def main() -> int:
    try:
        with open_driver() as driver:
            print(f"driver {driver.nvml.nvmlSystemGetDriverVersion()}")
            found = {tell(driver, gpu) for gpu in driver.read()}
    except DsopsError as error:
        print(f"error: {error}\n  mend: {error.mend}", file=sys.stderr)
        return NO_ANSWER
    return next(status for status in (NO_ANSWER, OTHERWISE, SAME, NO_MIG) if status in found)


if __name__ == "__main__":
    sys.exit(main())
