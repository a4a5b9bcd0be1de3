"""Control of memory that the process has freed but not returned to the system."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

import numpy as np

# glibc adapts its threshold to the largest freed block, up to 32 MB: smaller blocks are kept, and twice as much at the
# top.
_LARGE: Final = 30 * 2**20


def release_memory(*, cycles: bool = False) -> bool:
    """Return freed memory that glibc holds to the system; returns whether there was any. Takes a few milliseconds.

    glibc keeps freed memory between live objects: about 100 MB among the names of a million cells. With `cycles`,
    unreachable reference cycles, as in a MuData, are collected first: another 130 MB. That takes longer the more
    objects the process has.
    """
    if cycles:
        gc.collect()
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have no such function
    return bool(trim(0)) if trim is not None else False


def keep_freed() -> None:
    """Make glibc keep up to about 60 MB of freed memory for reuse.

    Otherwise, every training step would return its memory to the system and page-fault it in again, zero-filled: up to
    a fifth of its time.
    """
    np.empty(_LARGE, dtype=np.uint8)  # freed at once; nothing is written there, so it takes no memory
