"""The native engine: our own kernels, no torch."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable

from covfast import _core
from covfast.engines import Cancel, Floats, Network

_SESSIONS = 4  # sizes that each thread keeps memory for


class NativeNetwork(Network):
    """A network on a backend of `covfast.backends()`.

    Args:
        path: of the package.
        device, threads, precision, exact: as of `load`.
    """

    def __init__(
        self, path: str | os.PathLike[str], device: str, threads: int | None, precision: str, exact: bool
    ) -> None:
        super().__init__(path, precision, exact)
        self.engine = "native"
        self.backend = self._network.choose_backend(device)
        self.device = next(str(entry["device"]) for entry in _core.backends() if entry["name"] == self.backend)
        self._threads = threads or 0
        self._local = threading.local()

    def _session(self, size: tuple[int, int, int]) -> _core.Session:
        """This thread's session for one size; the oldest goes when there are too many."""
        held = self._local.__dict__
        sessions: OrderedDict[tuple[int, int, int], _core.Session] = held.setdefault("sessions", OrderedDict())
        if size not in sessions:
            while len(sessions) >= _SESSIONS:
                sessions.popitem(last=False)
            sessions[size] = _core.Session(self._network, self.backend, self._threads, size)
        sessions.move_to_end(size)
        return sessions[size]

    def _run(self, x: Floats, progress: Callable[[str, int, int], object] | None, cancel: Cancel | None) -> Floats:
        volume = x if self.rank == 3 else x[:, :, None]
        d, h, w = volume.shape[2:]
        y = self._session((d, h, w)).run(volume, progress, cancel)
        return y if self.rank == 3 else y[:, :, 0]
