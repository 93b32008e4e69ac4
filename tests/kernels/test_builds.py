"""Every kernel builds for every GPU it is for, without spilling registers; nothing here needs a GPU."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dskernels.build import build, find_target, get_cubin, list_arguments, list_builds
from dskernels.errors import KernelError

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc: no CUDA compiler on PATH")
needs_triton_lang = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch", "triton"))), reason="needs PyTorch and Triton-lang, not installed"
)
# Compiles weight_dequant's kernel for a GPU that is not here; the type of what is read decides whether it can.
COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dskernels.weight_dequant.kernel import _dequantize
signature = {"codes": "*u8", "scales": "*fp32", "out": "*bf16", "rows": "i32", "width": "i32"}
constants = {"ROWS": 64, "GROUP": 128}
source = ASTSource(_dequantize, signature | dict.fromkeys(constants, "constexpr"), constants)
print(len(triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32)).asm["cubin"]))
"""


@needs_nvcc
@pytest.mark.parametrize(("source", "target"), list_builds(), ids=lambda one: getattr(one, "stem", one))
def test_a_source_builds_for_its_target_and_spills_nothing(source: Path, target: str, tmp_path: Path) -> None:
    argv = ["nvcc", *list_arguments(source, target=target), "-Xptxas", "-v", "-o", str(tmp_path / "cubin")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    assert "spill stores" in done.stderr
    assert done.stderr.count("spill stores") == done.stderr.count(" 0 bytes spill stores"), done.stderr


def test_what_only_hopper_has_is_built_for_hopper_alone() -> None:
    targets = {target for source, target in list_builds() if source.name == "wgmma.sm_90a.cu"}
    assert targets == {"sm_90a"}
    assert {find_target(source) for source, target in list_builds() if target != "sm_90a"} == {None}


@needs_nvcc
def test_a_prebuilt_kernel_is_taken_and_a_missing_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "op" / "kernel.cu"
    source.parent.mkdir()
    source.write_text('extern "C" __global__ void nothing() {}')
    built = build(source, target="sm_90", folder=tmp_path / "prebuilt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(KernelError, match=r"not built for sm_90.*DSKERNELS_CUBINS"):
        get_cubin(source, target="sm_90")
    monkeypatch.setenv("DSKERNELS_CUBINS", str(tmp_path / "prebuilt"))
    assert get_cubin(source, target="sm_90") == built.read_bytes()


@pytest.mark.torch
@needs_triton_lang
@pytest.mark.parametrize("capability", ["80", "90"])
def test_weight_dequant_builds_for_a_gpu_without_e4m3(capability: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "kernels"), "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    script = tmp_path / "script.py"
    script.write_text(COMPILE)
    argv = [sys.executable, str(script), capability]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 1000
