"""The native engine: our own kernels, no torch."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from covfast import _core
from covfast.engines import Cancel, Floats, Network

_SESSIONS = 4  # sizes that each thread keeps memory for
_BATCH = 8  # images of one session's run; more would only take memory


class NativeNetwork(Network):
    """A network on a backend of `covfast.backends()`.

    Args:
        path: of the package.
        device, threads, precision: as of `load`.
    """

    def __init__(self, path: str | os.PathLike[str], device: str, threads: int | None, precision: str) -> None:
        super().__init__(path, precision)
        self.engine = "native"
        self.backend = self._network.choose_backend(device)
        self.device = next(str(entry["device"]) for entry in _core.backends() if entry["name"] == self.backend)
        self._threads = threads or 0
        self._local = threading.local()

    def _session(self, size: tuple[int, int, int], batch: int) -> _core.Session:
        """This thread's session for one size and batch; the oldest goes when there are too many."""
        held = self._local.__dict__
        sessions: OrderedDict[tuple[int, ...], _core.Session] = held.setdefault("sessions", OrderedDict())
        key = (*size, batch)
        if key not in sessions:
            while len(sessions) >= _SESSIONS:
                sessions.popitem(last=False)
            sessions[key] = _core.Session(self._network, self.backend, self._threads, size, batch)
        sessions.move_to_end(key)
        return sessions[key]

    def _run(self, x: Floats, progress: Callable[[str, int, int], object] | None, cancel: Cancel | None) -> Floats:
        volume = x if self.rank == 3 else x[:, :, None]
        d, h, w = volume.shape[2:]
        parts = [volume[i : i + _BATCH] for i in range(0, max(1, len(x)), _BATCH)]
        session = self._session((d, h, w), max(1, min(len(x), _BATCH)))
        answers = [session.run(np.ascontiguousarray(part), progress, cancel) for part in parts]
        y = answers[0] if len(answers) == 1 else np.concatenate(answers)
        return y if self.rank == 3 else y[:, :, 0]
