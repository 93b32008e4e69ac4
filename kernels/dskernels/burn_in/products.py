"""Matrix products for as long as asked: every one checked by its sums, and random ones repeated to the bit."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dskernels.burn_in.machine import Machine
from dskernels.burn_in.plan import Plan, Point, Tamper
from dskernels.burn_in.reference import to_int32
from dskernels.burn_in.report import Findings

# Whole numbers up to this fill bf16's eight bits; the sums of 32768 random products stay far under 2^24 (17 sigma), so
# fp32 is exact.
LARGEST = 127
# In fp8, Hopper adds up 128 products with 13 bits or so before fp32 takes over: 128 * 16 stays far under that.
LARGEST_FP8 = 4


class Sums:
    """The sums that the product of x and w must have (ABFT), and where products differed from them.

    They are computed in fp64, which the tensor cores' bf16 path has no part in, from sums of the operands: a product
    is never needed to know what its sums are. One wrong value changes one row and one column.
    """

    def __init__(self, x: torch.Tensor, w: torch.Tensor) -> None:
        self.want_rows = to_int32((x.double() @ w.sum(0, dtype=torch.float64)).long())
        self.want_columns = to_int32((w.double() @ x.sum(0, dtype=torch.float64)).long())
        self.of_rows, self.of_columns = torch.zeros_like(self.want_rows), torch.zeros_like(self.want_columns)
        self.wrong_rows = torch.zeros_like(self.want_rows, dtype=torch.bool)
        self.wrong_columns = torch.zeros_like(self.want_columns, dtype=torch.bool)
        self.wrong = torch.zeros((), dtype=torch.int64, device=x.device)

    def check(self, machine: Machine, product: torch.Tensor) -> None:
        """Remembers, without waiting, whether the product is wrong and where."""
        self.of_rows.zero_()
        self.of_columns.zero_()
        machine.add_up(product, self.of_rows, self.of_columns)
        rows, columns = self.of_rows != self.want_rows, self.of_columns != self.want_columns
        self.wrong_rows |= rows
        self.wrong_columns |= columns
        self.wrong += rows.any() | columns.any()

    def describe(self, products: int) -> str | None:
        """In words, None when all were right."""
        if not (wrong := int(self.wrong)):
            return None
        rows, columns = (some.nonzero().flatten().tolist() for some in (self.wrong_rows, self.wrong_columns))
        where = f"in {len(rows)} rows and {len(columns)} columns, the first in row {rows[:1]} and column {columns[:1]}"
        return f"{wrong} of {products} products are wrong, {where}"


@dataclass(frozen=True)
class Job:
    """One kind of product. operands, multiplying, product: the points at which a test may put a fault into it."""

    part: str
    multiply: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]
    seconds: float
    operands: Point
    multiplying: Point
    product: Point


def sustain(machine: Machine, plan: Plan, tamper: Tamper, findings: Findings) -> None:
    """Measures product (median), product_slowest and abft_share; objects to products that are wrong."""
    points = (Point.OPERANDS, Point.MULTIPLYING, Point.PRODUCT)
    job = Job("product", machine.multiply, plan.multiply_seconds, *points)
    x, w = (_draw(machine, (plan.side, plan.depth), most=LARGEST, seed=plan.seed + one).bfloat16() for one in range(2))
    _work(machine, plan, tamper, findings, job=job, operands=(x, w), sums=Sums(x, w))


def sustain_fp8(machine: Machine, plan: Plan, tamper: Tamper, findings: Findings) -> None:
    """As `sustain`, in fp8: measures fp8 and fp8_slowest; skipped where the GPU has none."""
    if lack := machine.find_fp8_lack():
        findings.skip("fp8", lack)
        return
    points = (Point.FP8_OPERANDS, Point.FP8_MULTIPLYING, Point.FP8_PRODUCT)
    job = Job("fp8", machine.multiply_fp8, plan.fp8_seconds, *points)
    shape = (plan.side, plan.fp8_depth)
    x, w = (_draw(machine, shape, most=LARGEST_FP8, seed=plan.seed + one) for one in range(2))
    sums = Sums(x.bfloat16(), w.bfloat16())
    operands = tuple(one.bfloat16().to(torch.float8_e4m3fn) for one in (x, w))
    _work(machine, plan, tamper, findings, job=job, operands=operands, sums=sums)


def _work(
    machine: Machine,
    plan: Plan,
    tamper: Tamper,
    findings: Findings,
    *,
    job: Job,
    operands: tuple[torch.Tensor, ...],
    sums: Sums,
) -> None:
    x, w = operands
    out = torch.empty((plan.side, plan.side), device=machine.device)
    tamper(job.operands, x)
    job.multiply(x, w, out)
    sums.check(machine, out)
    begin, trouble = machine.mark(), sums.describe(1)
    products: list[float] = []
    checks: list[float] = []
    while not products or (not trouble and machine.count_seconds(begin, machine.mark()) < job.seconds):
        marks = []
        for _ in range(plan.batch):
            before = machine.mark()
            job.multiply(x, w, out)
            tamper(job.multiplying, out)
            between = machine.mark()
            tamper(job.product, out)
            sums.check(machine, out)
            marks.append((before, between, machine.mark()))
        products += [machine.count_seconds(a, b) for a, b, _ in marks]
        checks += [machine.count_seconds(b, c) for _, b, c in marks]
        trouble = sums.describe(len(products) + 1)
    if trouble:
        findings.object_to(job.part, trouble)
    work = 2 * plan.side * plan.side * x.shape[1] / 1e12
    findings.measure(job.part, work / statistics.median(products), "TFLOP/s")
    findings.measure(f"{job.part}_slowest", work / max(products), "TFLOP/s")
    if job.part == "product":
        findings.measure("products", len(products) + 1, "products")
        findings.measure("abft_share", 100 * sum(checks) / sum(products), "%")


def repeat(machine: Machine, plan: Plan, tamper: Tamper, findings: Findings) -> None:
    """Objects when a product of random numbers, repeated, differs in a bit."""
    generator = torch.Generator(machine.device).manual_seed(plan.seed)
    shape = (plan.side, plan.depth)
    x, w = (torch.randn(shape, device=machine.device, generator=generator).bfloat16() for _ in range(2))
    first, again = (torch.empty((plan.side, plan.side), device=machine.device) for _ in range(2))
    machine.multiply(x, w, first)
    wrong = torch.zeros((), dtype=torch.int64, device=machine.device)
    for _ in range(plan.repeats):
        again.fill_(torch.nan)
        machine.multiply(x, w, again)
        tamper(Point.REPEATED, again)
        wrong += (again.view(torch.int32) != first.view(torch.int32)).sum()
    if int(wrong):
        findings.object_to("repeat", f"{int(wrong)} values of {plan.repeats} repeated products differ")


def _draw(machine: Machine, shape: tuple[int, int], *, most: int, seed: int) -> torch.Tensor:
    generator = torch.Generator(machine.device).manual_seed(seed)
    return torch.randint(-most, most + 1, shape, dtype=torch.int8, device=machine.device, generator=generator)
