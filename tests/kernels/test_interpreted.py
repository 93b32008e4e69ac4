"""The kernels in Triton-lang against their references, in its interpreter: small shapes, no GPU.

The interpreter cuts what a GPU rounds (bf16, e4m3), so a last bit may differ here; test_on_gpu.py is strict.
"""

import importlib.metadata
import os

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: bin/test has it in .torch-venv")
if torch.cuda.is_available():
    pytest.skip("there is a GPU: test_on_gpu.py runs the kernels on it", allow_module_level=True)
os.environ["TRITON_INTERPRET"] = "1"  # read when Triton-lang is imported
pytest.importorskip("triton", reason="needs Triton-lang: bin/test has it in .torch-venv")

from dskernels.act_quant import kernel as act_quant  # noqa: E402
from dskernels.act_quant import reference as act_quant_reference  # noqa: E402
from dskernels.errors import KernelError  # noqa: E402
from dskernels.fp8_gemm import kernel as fp8_gemm  # noqa: E402
from dskernels.fp8_gemm import reference as fp8_gemm_reference  # noqa: E402
from dskernels.weight_dequant import kernel as weight_dequant  # noqa: E402
from dskernels.weight_dequant import reference as weight_dequant_reference  # noqa: E402
from dskernels.workspace import Workspace  # noqa: E402

# Triton-lang makes a number of an array of one; older NumPy only warns of it.
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim:DeprecationWarning"),
]
NUMPY = tuple(map(int, importlib.metadata.version("numpy").split(".")[:2]))


def find_error(seen: "torch.Tensor", want: "torch.Tensor") -> float:
    return float((seen.double() - want.double()).norm() / want.double().norm())


@pytest.mark.parametrize(("rows", "width"), [(1, 128), (3, 384), (17, 1024)])
def test_activations_are_quantized_as_the_reference_says(rows: int, width: int) -> None:
    x = (torch.randn(rows, width) * torch.rand(rows, 1) * 10).bfloat16()
    values, scales = torch.full((rows, width), torch.nan), torch.full((rows, width // 128), torch.nan)
    groups = rows * width // 128
    act_quant._quantize[(-(-groups // 8),)](x, values, scales, groups, GROUPS=8, GROUP=128)
    check_quantized(values, scales, x.float())
    weight, block = torch.randn(width).bfloat16(), 1 << (width // 128 - 1).bit_length()
    act_quant._rms_norm_quantize[(rows,)](x, weight, values, scales, width, 1e-6, BLOCK=block, GROUP=128)
    check_quantized(values, scales, act_quant_reference.rms_norm(x, weight, epsilon=1e-6))
    pair = (torch.randn(rows, 2 * width) * 3).bfloat16()
    act_quant._silu_mul_quantize[(-(-groups // 8),)](pair, values, scales, groups, width, GROUPS=8, GROUP=128)
    check_quantized(values, scales, act_quant_reference.silu_mul(pair))


def check_quantized(values: "torch.Tensor", scales: "torch.Tensor", want: "torch.Tensor") -> None:
    """values: fp32, since the interpreter's way to e4m3 loses a carry (1.97 becomes 1, not 2)."""
    _, wanted_scales = act_quant_reference.quantize(want)
    assert find_error(scales, wanted_scales) < 1e-6
    assert find_error(values.unflatten(-1, (-1, 128)) * scales[..., None], want.unflatten(-1, (-1, 128))) < 1e-6
    assert values.abs().max() <= 448


@pytest.mark.parametrize("shape", [(1, 1), (3, 127), (129, 256), (130, 300)])
def test_weights_become_bf16_to_the_last_bit(shape: tuple[int, int]) -> None:
    w = torch.arange(shape[0] * shape[1]).remainder(256).to(torch.uint8).view(shape).view(torch.float8_e4m3fn)
    scales = torch.rand(-(-shape[0] // 128), -(-shape[1] // 128))
    seen, want = weight_dequant.dequantize(w, scales), weight_dequant_reference.dequantize(w, scales)
    assert torch.equal(seen.isnan(), want.isnan())
    assert torch.equal(seen.nan_to_num() != 0, want.nan_to_num() != 0)
    steps = seen.nan_to_num().view(torch.int16).int() - want.nan_to_num().view(torch.int16).int()
    assert set(steps.unique().tolist()) <= {-1, 0}


@pytest.mark.skipif(NUMPY >= (2, 4), reason="Triton-lang's interpreter cannot count a loop with NumPy 2.4 or newer")
@pytest.mark.parametrize(("rows", "columns", "width"), [(1, 64, 128), (3, 65, 384), (17, 130, 256)])
def test_products_are_right_and_leave_the_workspace_clean(rows: int, columns: int, width: int) -> None:
    workspace = Workspace(torch.device("cpu"), floats=1 << 16, tiles=64)
    x, x_scales = act_quant_reference.quantize(torch.randn(rows, width))
    w, w_scales = fp8_gemm_reference.quantize_weight(torch.randn(columns, width))
    want = fp8_gemm_reference.gemm(x, x_scales, w, w_scales)
    seen = fp8_gemm.gemm(x, x_scales, w, w_scales, workspace=workspace)
    assert find_error(seen, want) < 6e-3
    assert not workspace.counts.any()


def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(KernelError, match=r"wanted \(1, 2\) float32"):
        weight_dequant.dequantize(torch.zeros(100, 200).to(torch.float8_e4m3fn), torch.ones(1, 1))
    with pytest.raises(KernelError, match="wanted \\(N, K\\) float8_e4m3fn"):
        weight_dequant.dequantize(torch.zeros(100, 200), torch.ones(1, 2))
