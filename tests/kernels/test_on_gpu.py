"""The kernels against their references on a real GPU; skipped where there is none."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: the kernels are checked on a GPU server")
if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (9, 0):
    pytest.skip("needs a GPU of compute capability 9.0 or newer", allow_module_level=True)

from dskernels.act_quant import kernel as act_quant  # noqa: E402
from dskernels.act_quant import reference as act_quant_reference  # noqa: E402
from dskernels.errors import KernelError  # noqa: E402
from dskernels.fp8_gemm import kernel as fp8_gemm  # noqa: E402
from dskernels.fp8_gemm import reference as fp8_gemm_reference  # noqa: E402
from dskernels.w4a16_gemm import kernel as w4a16_gemm  # noqa: E402
from dskernels.w4a16_gemm import reference as w4a16_gemm_reference  # noqa: E402
from dskernels.workspace import Workspace  # noqa: E402

ROWS = (1, 2, 3, 127, 128, 1000)


def find_error(seen: "torch.Tensor", want: "torch.Tensor") -> float:
    return float((seen.double() - want.double()).norm() / want.double().norm())


@pytest.mark.parametrize("width", [128, 384, 1536, 7168])
@pytest.mark.parametrize("rows", ROWS)
def test_quantized_alone_and_fused_as_the_reference_says(rows: int, width: int) -> None:
    x = (torch.randn(rows, width, device="cuda") * torch.rand(rows, 1, device="cuda") * 10).bfloat16()
    values, scales = act_quant.quantize(x)
    wanted, wanted_scales = act_quant_reference.quantize(x)
    assert torch.equal(scales, wanted_scales)
    assert (values.float() != wanted.float()).float().mean() < 1e-3
    weight = torch.randn(width, device="cuda", dtype=torch.bfloat16)
    normed = act_quant_reference.dequantize(*act_quant.rms_norm_quantize(x, weight, epsilon=1e-6))
    assert find_error(normed, act_quant_reference.rms_norm(x, weight, epsilon=1e-6)) < 0.04
    pair = (torch.randn(rows, 2 * width, device="cuda") * 3).bfloat16()
    gated = act_quant_reference.dequantize(*act_quant.silu_mul_quantize(pair))
    assert find_error(gated, act_quant_reference.silu_mul(pair)) < 0.04


def test_a_group_of_zeros_stays_zero_and_has_a_scale() -> None:
    values, scales = act_quant.quantize(torch.zeros(4, 256, device="cuda", dtype=torch.bfloat16))
    assert not values.float().any()
    assert (scales > 0).all()


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


@pytest.mark.parametrize("rows", [1, 2, 3, 15, 16, 17, 64, 100])
def test_four_bit_weights_multiply_as_the_reference_says(rows: int) -> None:
    workspace = Workspace(torch.device("cuda"))
    for columns, width in ((4096, 7168), (64, 128), (65, 256), (130, 384), (8192, 8192)):
        x = torch.randn(rows, width, device="cuda", dtype=torch.bfloat16)
        codes = w4a16_gemm_reference.quantize(torch.randn(columns, width, device="cuda"))
        weight = w4a16_gemm.pack(codes)
        want = w4a16_gemm_reference.gemm(x, codes)
        for _ in range(3):
            assert find_error(w4a16_gemm.gemm(x, weight, workspace=workspace), want) < 2e-3
        assert not workspace.counts.any()


def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(KernelError, match="multiple of 128"):
        act_quant.quantize(torch.randn(3, 100, device="cuda", dtype=torch.bfloat16))
    with pytest.raises(KernelError, match="wanted bfloat16"):
        act_quant.quantize(torch.randn(3, 128, device="cuda"))
