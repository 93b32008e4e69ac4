"""Passports for tests: of one kind of hardware, with as many runs and prompts as a test wants."""

from dataclasses import replace
from typing import Any

from dsops.core.passport import Answered, Hardware, Measurement, Passport, Run, RunKind, Seen, make_passport

H100, T4 = Hardware(("NVIDIA H100",) * 8, "EPYC", 96), Hardware(("Tesla T4",) * 4, "Xeon", 32)
CPU = Hardware((), "Xeon", 2)
COLD, WARM = RunKind.COLD, RunKind.WARM
RUNS = (Run(COLD, 700.0, 40.0, 0.0), Run(WARM, 800.0), Run(WARM, 810.0))


def make(**changes: Any) -> Passport:
    """Eight prompts, one cold run and two warm ones."""
    runs = changes.get("runs", RUNS)
    answers = tuple(Answered(f"p{number}", (Seen(f"answer {number}", len(runs)),)) for number in range(8))
    said: dict[str, Any] = {"made_at": 1_700_000_000.0, "node": "gpu1", "engine": "openvino"}
    said |= {key: changes.pop(key) for key in tuple(changes) if key in said}
    measured = Measurement("r0123456789ab", H100, "Triton 2.51.0", tuple(runs), answers)
    return make_passport(replace(measured, **changes), **said)
