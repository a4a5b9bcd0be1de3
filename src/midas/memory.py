"""Memory that the process holds without using it."""

from __future__ import annotations

import ctypes
import gc
import sys


def release_memory(*, cycles: bool = False) -> bool:
    """Return freed memory to the system where the C library keeps it; whether there was any. Takes some milliseconds.

    The GNU library keeps what lies between objects that are still in use: among the names of a million cells about 100 MB.
    With `cycles`, objects that point to each other, as the parts of a MuData do, are freed first where nobody holds them: another
    130 MB. That takes longer, the more objects the process has.
    """
    if cycles:
        gc.collect()
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have no such function
    return bool(trim(0)) if trim is not None else False
