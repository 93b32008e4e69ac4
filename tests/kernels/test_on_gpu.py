"""The kernels against their references on a real GPU; skipped where there is none."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: the kernels are checked on a GPU server")
if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
    pytest.skip("needs a GPU of compute capability 8.0 or newer", allow_module_level=True)

from dskernels.act_quant import kernel as act_quant  # noqa: E402
from dskernels.act_quant import reference as act_quant_reference  # noqa: E402
from dskernels.burn_in import suite  # noqa: E402
from dskernels.burn_in.bench import SHORT, find_fault, make_floors  # noqa: E402
from dskernels.burn_in.faults import FAULTS, Fault  # noqa: E402
from dskernels.burn_in.kernel import Gpu  # noqa: E402
from dskernels.burn_in.machine import Pattern, describe, make_found  # noqa: E402
from dskernels.burn_in.reference import Plain, expect  # noqa: E402
from dskernels.errors import KernelError  # noqa: E402
from dskernels.fp8_gemm import kernel as fp8_gemm  # noqa: E402
from dskernels.fp8_gemm import reference as fp8_gemm_reference  # noqa: E402
from dskernels.fp8_gemm.choice import WGMMA, Wgmma  # noqa: E402
from dskernels.tiled_matmul import kernel as tiled_matmul  # noqa: E402
from dskernels.tiled_matmul import reference as tiled_matmul_reference  # noqa: E402
from dskernels.tiled_matmul.choice import LADDER, Rung, can_run  # noqa: E402
from dskernels.w4a16_gemm import kernel as w4a16_gemm  # noqa: E402
from dskernels.w4a16_gemm import reference as w4a16_gemm_reference  # noqa: E402
from dskernels.w4a16_gemm.choice import BULKS, Bulk, Choice  # noqa: E402
from dskernels.weight_dequant import kernel as weight_dequant  # noqa: E402
from dskernels.weight_dequant import reference as weight_dequant_reference  # noqa: E402
from dskernels.workspace import Workspace  # noqa: E402

ROWS = (1, 2, 3, 127, 128, 1000)
CAPABILITY = torch.cuda.get_device_capability()
needs_e4m3 = pytest.mark.skipif(CAPABILITY < (9, 0), reason="needs a GPU of compute capability 9.0 or newer")


def find_error(seen: "torch.Tensor", want: "torch.Tensor") -> float:
    return float((seen.double() - want.double()).norm() / want.double().norm())


@needs_e4m3
@pytest.mark.parametrize("width", [128, 384, 1536, 7168])
@pytest.mark.parametrize("rows", ROWS)
def test_quantized_alone_and_fused_as_the_reference_says(rows: int, width: int) -> None:
    x = (torch.randn(rows, width, device="cuda") * torch.rand(rows, 1, device="cuda") * 10).bfloat16()
    values, scales = act_quant.quantize(x)
    wanted, wanted_scales = act_quant_reference.quantize(x)
    assert torch.equal(scales, wanted_scales)
    # In a group whose factor makes ties, a last bit of the factor decides several values.
    steps = (values.view(torch.int8).int() - wanted.view(torch.int8).int()).abs()
    assert steps.max() <= 1
    assert steps.sum() < 1e-3 * steps.numel() + 8
    weight = torch.randn(width, device="cuda", dtype=torch.bfloat16)
    normed = act_quant_reference.dequantize(*act_quant.rms_norm_quantize(x, weight, epsilon=1e-6))
    assert find_error(normed, act_quant_reference.rms_norm(x, weight, epsilon=1e-6)) < 0.04
    pair = (torch.randn(rows, 2 * width, device="cuda") * 3).bfloat16()
    gated = act_quant_reference.dequantize(*act_quant.silu_mul_quantize(pair))
    assert find_error(gated, act_quant_reference.silu_mul(pair)) < 0.04


@needs_e4m3
def test_a_group_of_zeros_stays_zero_and_has_a_scale() -> None:
    values, scales = act_quant.quantize(torch.zeros(4, 256, device="cuda", dtype=torch.bfloat16))
    assert not values.float().any()
    assert (scales > 0).all()


@needs_e4m3
@pytest.mark.parametrize("rows", [1, 2, 3, 15, 16, 17, 63, 64, 65, 127, 128, 129, 300])
def test_products_of_every_size_are_right_and_leave_the_workspace_clean(rows: int) -> None:
    workspace = Workspace(torch.device("cuda"))
    for columns, width in ((576, 7168), (64, 128), (65, 128), (130, 384), (2112, 7168), (7168, 2048), (1000, 640)):
        x, x_scales = act_quant.quantize(torch.randn(rows, width, device="cuda", dtype=torch.bfloat16))
        w, w_scales = fp8_gemm_reference.quantize_weight(torch.randn(columns, width, device="cuda"))
        want = fp8_gemm_reference.gemm(x, x_scales, w, w_scales)
        for _ in range(3):
            seen = fp8_gemm.gemm(x, x_scales, w, w_scales, workspace=workspace)
            assert find_error(seen, want) < 2e-3
        assert not workspace.counts.any()


@pytest.mark.skipif(CAPABILITY != (9, 0), reason="needs a GPU of compute capability 9.0: wgmma")
@pytest.mark.parametrize("choice", WGMMA, ids=lambda one: f"{one.columns}-{one.splits}-{one.pair}")
def test_every_kernel_by_wgmma_is_right_at_every_edge(choice: Wgmma) -> None:
    workspace = Workspace(torch.device("cuda"))
    for rows in (1, 63, 127, 128, 129, 700):
        for columns, width in ((64, 128), (65, 128), (130, 384), (576, 7168), (1000, 640), (2112, 1536)):
            x, x_scales = act_quant.quantize(torch.randn(rows, width, device="cuda", dtype=torch.bfloat16))
            w, w_scales = fp8_gemm_reference.quantize_weight(torch.randn(columns, width, device="cuda"))
            want = fp8_gemm_reference.gemm(x, x_scales, w, w_scales)
            seen = fp8_gemm.gemm(x, x_scales, w, w_scales, workspace=workspace, choice=choice)
            assert find_error(seen, want) < 2.5e-3, (rows, columns, width)


@pytest.mark.parametrize("rows", [1, 2, 3, 15, 16, 17, 64, 100])
def test_four_bit_weights_multiply_as_the_reference_says(rows: int) -> None:
    workspace = Workspace(torch.device("cuda"))
    for columns, width in ((4096, 7168), (64, 128), (65, 256), (130, 384), (8192, 8192)):
        x = torch.randn(rows, width, device="cuda", dtype=torch.bfloat16)
        codes = w4a16_gemm_reference.quantize(torch.randn(columns, width, device="cuda"))
        weight = w4a16_gemm.pack(codes)
        want = w4a16_gemm_reference.gemm(x, codes)
        for _ in range(3):
            assert find_error(w4a16_gemm.gemm(x, weight, workspace=workspace), want) < 2.5e-3  # 64 roundings differ
        assert not workspace.counts.any()


# Rows that fill no strip, no tile, and more than one round; widths with fewer groups than warps, odd, and the largest.
EDGES = ((1, 128), (64, 128), (65, 256), (130, 384), (130, 1152), (576, 7168), (2113, 1664), (9000, 640), (64, 24576))


def poison(columns: int) -> None:
    """Leaves memory full of NaN where a result of one row is likely to be put next."""
    torch.full((1, columns), torch.nan, device="cuda", dtype=torch.bfloat16)


@pytest.mark.skipif(CAPABILITY != (9, 0), reason="needs a GPU of compute capability 9.0: bulk copies")
@pytest.mark.parametrize("choice", BULKS, ids=lambda one: f"{one.strips}-{one.slots}")
def test_one_row_comes_out_right_of_every_bulk_kernel_at_every_edge(choice: Bulk) -> None:
    workspace = Workspace(torch.device("cuda"))
    for columns, width in EDGES:
        codes = w4a16_gemm_reference.quantize(torch.randn(columns, width, device="cuda"))
        weight = w4a16_gemm.pack(codes)
        for _ in range(3):
            x = torch.randn(1, width, device="cuda", dtype=torch.bfloat16)
            want = w4a16_gemm_reference.gemm(x, codes)
            poison(columns)
            seen = w4a16_gemm.gemm(x, weight, workspace=workspace, choice=choice)
            assert find_error(seen, want) < (2.5e-3 if columns > 1 else 4e-3), (columns, width)


def test_one_row_comes_out_right_without_bulk_copies_too() -> None:
    workspace = Workspace(torch.device("cuda"))
    for columns, width in EDGES:
        x = torch.randn(1, width, device="cuda", dtype=torch.bfloat16)
        codes = w4a16_gemm_reference.quantize(torch.randn(columns, width, device="cuda"))
        weight = w4a16_gemm.pack(codes)
        want = w4a16_gemm_reference.gemm(x, codes)
        for strips in (1, 2, 4):
            poison(columns)
            seen = w4a16_gemm.gemm(x, weight, workspace=workspace, choice=Choice(strips))
            assert find_error(seen, want) < (2.5e-3 if columns > 1 else 4e-3), (columns, width)


def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(KernelError, match="multiple of 128"):
        act_quant.quantize(torch.randn(3, 100, device="cuda", dtype=torch.bfloat16))
    with pytest.raises(KernelError, match="wanted bfloat16"):
        act_quant.quantize(torch.randn(3, 128, device="cuda"))
    weight = w4a16_gemm.pack(w4a16_gemm_reference.quantize(torch.randn(64, 128, device="cuda")))
    workspace, shifted = Workspace(torch.device("cuda")), torch.randn(129, device="cuda").bfloat16()[1:].view(1, 128)
    with pytest.raises(KernelError, match="multiple of 16 bytes"):
        w4a16_gemm.gemm(shifted, weight, workspace=workspace)


@pytest.mark.parametrize("shape", [(1, 1), (3, 127), (128, 128), (129, 256), (1000, 300), (576, 7168), (130, 1040)])
def test_weights_become_bf16_to_the_bit(shape: tuple[int, int]) -> None:
    w = torch.randint(0, 256, shape, dtype=torch.uint8, device="cuda").view(torch.float8_e4m3fn)
    blocks = (-(-shape[0] // 128), -(-shape[1] // 128))
    scales = torch.rand(blocks, device="cuda") * torch.randn(blocks, device="cuda").mul(5).exp()
    seen, want = weight_dequant.dequantize(w, scales), weight_dequant_reference.dequantize(w, scales)
    assert torch.equal(seen.isnan(), want.isnan())
    assert torch.equal(seen.nan_to_num(), want.nan_to_num())


SIZES = ((1, 1, 8), (1, 300, 64), (3, 5, 72), (127, 129, 200), (128, 256, 64), (300, 1000, 1024), (1000, 515, 4096))


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_every_rung_of_the_ladder_multiplies_as_the_reference_says(rung: Rung) -> None:
    if not can_run(rung, CAPABILITY, 8):
        pytest.skip(f"{torch.cuda.get_device_name()} has no {rung.name}")
    for rows, columns, width in (*SIZES, *(((3, 5, 7), (65, 130, 77)) if rung.step == 1 else ())):
        x, w = (torch.randn(n, width, device="cuda", dtype=torch.bfloat16) for n in (rows, columns))
        want = tiled_matmul_reference.gemm(x, w)
        for dtype, most in ((torch.bfloat16, 4e-3), (torch.float32, 1e-5)):
            out = torch.full((rows, columns), torch.nan, device="cuda", dtype=dtype)
            assert find_error(tiled_matmul.gemm(x, w, out=out, rung=rung), want.double()) < most, (rows, columns, width)


def test_a_large_product_of_whole_numbers_is_exact_on_the_tensor_cores() -> None:
    x, w = (torch.randint(-127, 128, (n, 4096), device="cuda").bfloat16() for n in (1000, 2304))
    want = x.double() @ w.double().t()
    for rung in LADDER:
        if can_run(rung, CAPABILITY, 4096):
            assert torch.equal(tiled_matmul.gemm(x, w, dtype=torch.float32, rung=rung).double(), want)


def test_the_pattern_and_the_sums_on_the_gpu_are_the_references() -> None:
    gpu, plain = Gpu(0), Plain(torch.device("cpu"))
    for pattern in (Pattern(5), Pattern(0x7FFFFFFF, is_inverted=True)):
        words = torch.zeros(3 << 18, dtype=torch.int32, device="cuda")
        gpu.fill(words, first=70_000, pattern=pattern)
        assert torch.equal(words.cpu(), expect(words.numel(), first=70_000, pattern=pattern, device=plain.device))
        words[12345] ^= 1 << 31
        found, wanted = make_found(gpu.device), make_found(plain.device)
        gpu.check(words, first=70_000, pattern=pattern, found=found)
        plain.check(words.cpu(), first=70_000, pattern=pattern, found=wanted)
        assert describe(found)
        assert torch.equal(found.cpu(), wanted)
    product = torch.randint(-(1 << 23), 1 << 23, (130, 2052), device="cuda").float()
    product[7, 9] = torch.nan
    product[8, 10] = 0.5
    sums = [torch.zeros(n, dtype=torch.int32, device="cuda") for n in product.shape]
    wanted_sums = [torch.zeros(n, dtype=torch.int32) for n in product.shape]
    gpu.add_up(product, *sums)
    plain.add_up(product.cpu(), *wanted_sums)
    assert all(torch.equal(seen.cpu(), want) for seen, want in zip(sums, wanted_sums, strict=True))


def test_a_sound_gpu_passes_its_burn_in() -> None:
    for report in suite.run(plan=SHORT):
        assert report.is_sound, report.problems
        assert {"memory_walked", "copy_256", "host_to_device", "product"} <= {one.name for one in report.figures}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_burn_in_finds_the_fault(fault: Fault) -> None:
    assert find_fault(fault, make_floors(SHORT, suite.run(plan=SHORT)) if fault.part == "floors" else SHORT)
