"""Errors of covfast: one class a kind, one message grammar, one exit code.

Messages read ``argument: got X, expected Y; hint``. The list stands once, in ``csrc/core/errors.def``; a test compares
this file with it.
"""

from __future__ import annotations

import os
from typing import ClassVar


class CovfastError(Exception):
    """Base of every error that covfast raises on purpose; alone it means a bug in covfast."""

    exit_code: ClassVar[int] = 1


class ShapeError(CovfastError, ValueError):
    """An array has the wrong number of axes or the wrong size."""

    exit_code = 2


class DTypeError(CovfastError, TypeError):
    """An array has an element type that is not accepted."""

    exit_code = 2


class ValueRangeError(CovfastError, ValueError):
    """A value lies outside what is accepted."""

    exit_code = 2


class FormatError(CovfastError, ValueError):
    """A file cannot be read, or is not a CT. The message names the file."""

    exit_code = 3


class GeometryError(CovfastError, ValueError):
    """Slices or grids do not fit together. The message names the files."""

    exit_code = 4


class MemoryLimitError(CovfastError, MemoryError):
    """The memory limit cannot be kept."""

    exit_code = 5


class WeightsError(CovfastError, RuntimeError):
    """Weights are missing or fail their checksum."""

    exit_code = 6


class DeviceError(CovfastError, RuntimeError):
    """A device or backend is unknown, absent or failed."""

    exit_code = 7


class BackendUnavailable(CovfastError, ImportError):
    """An optional package or part is not installed. The message names the extra to install."""

    exit_code = 7


class NoLungsError(CovfastError, ValueError):
    """No lungs were found in the volume."""

    exit_code = 9


class OutputError(CovfastError, OSError):
    """An output could not be written."""

    exit_code = 10


class Cancelled(CovfastError):
    """The caller cancelled the work."""

    exit_code = 130


def describe(argument: str, got: object, expected: str, hint: str = "") -> str:
    """The one message grammar: ``argument: got X, expected Y; hint``."""
    text = f"{argument}: got {got}, expected {expected}"
    return f"{text}; {hint}" if hint else text


def file_name(path: str | os.PathLike[str]) -> str:
    """The last part of a path: messages name files without the folders above them, which may hold a patient's name."""
    return os.path.basename(os.path.normpath(os.fspath(path))) or "."
