"""Memory that the process holds without using it."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

import numpy as np

# The GNU library learns from the largest block that was freed, up to 32 MB: smaller ones are kept, and twice as much at the end.
_LARGE: Final = 30 * 2**20


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


def keep_freed() -> None:
    """Have the process keep freed memory, up to about 60 MB, for its next need, where the C library learns that from its use.

    Else every training step would return what it has freed and be given it anew, page by page, each filled with zeros: up to a
    fifth of its time.
    """
    np.empty(_LARGE, dtype=np.uint8)  # freed at once; nothing is written there, so it takes no memory
