"""What the bulk copy engine of sm_90 must know of a matrix: a tensor map, made by the driver."""

import ctypes

import torch

from dskernels.driver import check_code, get_driver

BYTES, ALIGNMENT = 128, 64
# Of cuda.h: CU_TENSOR_MAP_DATA_TYPE_*, SWIZZLE_128B, L2_PROMOTION_L2_256B; interleaving and fill are none.
TYPES = {torch.bfloat16: 9, torch.float8_e4m3fn: 0}
SWIZZLE_128, PROMOTE_256 = 3, 3
LINE = 128


class TensorMap:
    """Of a (rows, width) bf16 or e4m3 matrix, contiguous, read in boxes of (box, 128 bytes), swizzled; zeros outside.

    The matrix must outlive every kernel that was given the map. Raises KernelError.
    """

    def __init__(self, matrix: torch.Tensor, *, box: int) -> None:
        memory = (ctypes.c_uint8 * (BYTES + ALIGNMENT))()
        self.content = (ctypes.c_uint8 * BYTES).from_buffer(memory, -ctypes.addressof(memory) % ALIGNMENT)
        rows, width = matrix.shape
        code = get_driver().cuTensorMapEncodeTiled(
            self.content,
            TYPES[matrix.dtype],
            2,
            ctypes.c_void_p(matrix.data_ptr()),
            (ctypes.c_uint64 * 2)(width, rows),
            (ctypes.c_uint64 * 1)(width * matrix.element_size()),
            (ctypes.c_uint32 * 2)(LINE // matrix.element_size(), box),
            (ctypes.c_uint32 * 2)(1, 1),
            0,
            SWIZZLE_128,
            PROMOTE_256,
            0,
        )
        check_code(code, f"make a tensor map of {tuple(matrix.shape)} in boxes of {box} rows")
