"""`python -m dskernels.burn_in [--short]`: a burn-in of every GPU there is, as one JSON object on standard output.

For whoever keeps the figures of a node, such as `dsops accept`: a process of its own, that may be killed. An empty
`why` means that all was done; else nothing was, and `is_broken` says whether this machine should have been able to.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from typing import Any

SHORT_SECONDS = 2.0


def say(said: dict[str, Any]) -> None:
    """One line, and the end: a thread that hangs in the driver could keep the process, or abort it."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    os._exit(0)


def tell_nothing(why: str, *, is_broken: bool) -> dict[str, Any]:
    """What is said when nothing was measured."""
    return {"why": why, "is_broken": is_broken, "torch": "", "cuda": "", "gpus": []}


def main() -> None:
    """Measures and tells."""
    parser = argparse.ArgumentParser(prog="python -m dskernels.burn_in", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few seconds instead of many: to try it")
    said = parser.parse_args()
    # The driver's own order, so that the numbers are those of `nvidia-smi`.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    try:
        import torch
    except ImportError as error:
        say(tell_nothing(f"{sys.executable} has no PyTorch ({error})", is_broken=False))
    if not torch.cuda.is_available():
        say(tell_nothing(f"PyTorch {torch.__version__} finds no GPU that it can use", is_broken=True))
    say(burn_in(is_short=said.short))


def burn_in(*, is_short: bool) -> dict[str, Any]:
    """All of it. What is no fault of the GPUs, such as kernels that were not built, is told as a reason."""
    import torch

    from dskernels.burn_in.kernel import Gpu
    from dskernels.burn_in.plan import Plan
    from dskernels.burn_in.suite import run
    from dskernels.errors import KernelError

    try:
        machines = [Gpu(index) for index in range(torch.cuda.device_count())]
        for machine in machines:
            machine.check_built()
    except KernelError as error:
        return tell_nothing(str(error), is_broken=False)
    plan = Plan(walk_seconds=0, multiply_seconds=SHORT_SECONDS, fp8_seconds=0.5) if is_short else Plan()
    reports = run(machines, plan=plan)
    uuids = [str(torch.cuda.get_device_properties(machine.device).uuid) for machine in machines]
    gpus = [asdict(report) | {"uuid": uuid} for report, uuid in zip(reports, uuids, strict=True)]
    return {"why": "", "is_broken": False, "torch": torch.__version__, "cuda": torch.version.cuda or "", "gpus": gpus}


if __name__ == "__main__":
    main()
