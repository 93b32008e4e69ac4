"""What a pair of GPU and ports costs against the best one: by arithmetic on what the ports say, no guess. Pure."""

from dsops.core.topology.model import Level
from dsops.core.topology.pair import Pair

PATHS = {
    Level.PHB: "GPUDirect is off beyond PXB (NCCL's own limit): every byte is staged in the host's memory",
    Level.NODE: "GPUDirect is off beyond PXB (NCCL's own limit): every byte is staged in the host's memory",
    Level.SYS: "GPUDirect is off beyond PXB (NCCL's own limit): every byte is staged in the host's memory and crosses"
    " the link between processors",
}


def tell_cost(made: Pair, best: Pair) -> str:
    """In words, with figures; "" when it costs nothing."""
    said = []
    if made.level > best.level:
        said.append(f"{made.level.name} instead of {best.level.name}")
        said += [PATHS[made.level]] if made.level in PATHS and best.level.is_near else []
    if made.rate < best.rate:
        share = f", shared by {made.users} GPUs" if made.users > best.users else ""
        said.append(f"{made.rate:g} instead of {best.rate:g} Gb/s{share}: {render_factor(best.rate, made.rate)} slower")
    return "; ".join(said)


def render_factor(better: float, worse: float) -> str:
    """`20x`, `1.5x`; `at a standstill` where nothing is left."""
    return f"{better / worse:.3g}x" if worse else "at a standstill, infinitely"
