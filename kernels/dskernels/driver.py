"""NVIDIA's driver, as it is."""

import ctypes
from functools import cache

from dskernels.errors import KernelError


@cache
def get_driver() -> ctypes.CDLL:
    """The library that every machine with a driver has."""
    return ctypes.CDLL("libcuda.so.1")


def check_code(code: int, what: str) -> None:
    """Raises KernelError in the driver's words. what: it should have done, such as `start a kernel`."""
    if code:
        words = ctypes.c_char_p()
        get_driver().cuGetErrorString(code, ctypes.byref(words))
        raise KernelError(f"the driver cannot {what}: {(words.value or b'').decode()} ({code})")
