"""How this server's GPUs can be divided, as their driver says it, beside what the catalog says; changes nothing.

`PYTHONPATH=agent python3 -m tests.lab.compare_mig` needs root and nvidia-ml-py. For a GPU that the catalog lacks it
prints the entry that catalog/mig.toml wants. Exit status: 0 all are as the catalog says, 1 one is not, 2 none has MIG.
"""

import sys

from dsops.catalog.mig import find_kind
from dsops.core.mig import Kind, Profile
from dsops.node.mig.driver import open_driver


def render(profile: Profile) -> str:
    """Its line in the catalog."""
    starts = list(profile.starts)
    words = f'name = "{profile.name}", id = {profile.id}, size = {profile.size}, starts = {starts}'
    return f"  {{ {words}, most = {profile.most}, memory_mib = {profile.memory_mib} }},"


def compare(kind: Kind | None, told: tuple[Profile, ...]) -> list[str]:
    """What the driver says otherwise than the catalog, a line each."""
    have = {one.name: one for one in (kind.profiles if kind else ())}
    more = sorted(set(have) - {one.name for one in told})
    return [render(one) for one in told if have.get(one.name) != one] + [f"  not on this GPU: {name}" for name in more]


def main() -> int:
    worst = 2
    with open_driver() as driver:
        print(f"driver {driver.nvml.nvmlSystemGetDriverVersion()}")
        for gpu in driver.read():
            told = () if gpu.mode is None else driver.read_profiles(gpu)
            if not told:
                print(f"GPU {gpu.index} ({gpu.name}, {gpu.id}): {gpu.lack or 'it has no MIG'}")
                continue
            wrong = compare(find_kind(gpu.id), told)
            print(f"GPU {gpu.index} ({gpu.name}, {gpu.id}): {len(told)} profiles, {len(wrong)} not as in the catalog")
            print("\n".join(wrong or map(render, told)))
            worst = 1 if wrong or worst == 1 else 0
    return worst


if __name__ == "__main__":
    sys.exit(main())
