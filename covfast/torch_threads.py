"""The threads of torch's OpenMP, for work of ours that goes in turns with a network of torch."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os

from covfast import _core

_PROCESS = os.getpid()


@functools.cache
def _parallel() -> int | None:
    """Address of GOMP_parallel in the OpenMP runtime that torch is linked with; None where it has none."""
    import torch

    try:
        entry = ctypes.CDLL(torch._C.__file__).GOMP_parallel
    except (OSError, AttributeError):
        return None
    return ctypes.cast(entry, ctypes.c_void_p).value


def team() -> contextlib.AbstractContextManager[None]:
    """While it lasts, loops of the calling thread run on the threads of torch's own loops, where torch has several.

    After each operation those threads stay awake for milliseconds, and threads of ours would have to share the cores
    with them. A forked process has none of them and uses ours.
    """
    import torch

    threads = torch.get_num_threads()
    parallel = _parallel() if threads > 1 and os.getpid() == _PROCESS else None
    return contextlib.nullcontext() if parallel is None else _core.OpenMpThreads(parallel, threads)
