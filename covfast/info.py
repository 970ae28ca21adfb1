"""What this build and this machine can do."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from typing import Any

import covfast
from covfast import _core

_PACKAGES = ("numpy", "SimpleITK", "pydicom", "pillow", "rich", "torch", "covfast-weights")


@dataclass(frozen=True)
class BackendEntry:
    """One entry of the ordered backend list.

    Attributes:
        name: "cuda", "avx512_bf16", "avx512", "avx2" or "baseline".
        device: "cpu" or "cuda".
        needs: what it needs.
        missing: why it cannot run here; None if it can.
    """

    name: str
    device: str
    needs: str
    missing: str | None

    def __str__(self) -> str:
        return f"{self.name:<12} {self.device:<5} {'available' if self.missing is None else 'missing: ' + self.missing}"


def backends() -> tuple[BackendEntry, ...]:
    """All backends in order of preference, with the reason why one cannot run here."""
    return tuple(
        BackendEntry(str(entry["name"]), str(entry["device"]), str(entry["needs"]), entry["missing"])
        for entry in _core.backends()
    )


def version_of(package: str) -> str | None:
    """Installed version of a distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Versions of covfast, Python and the packages that can change a result."""
    found = {package: version_of(package) for package in _PACKAGES}
    return {"covfast": covfast.__version__, "python": platform.python_version(), **found}


def info() -> dict[str, Any]:
    """Build, machine, backends and versions, ready for JSON."""
    return {
        "schema_version": 1,
        "versions": versions(),
        "machine": {"system": platform.system(), "processor": platform.machine(), "threads": _core.hardware_threads()},
        "backends": [vars(entry) for entry in backends()],
    }
