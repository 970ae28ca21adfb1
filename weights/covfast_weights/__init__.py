"""Trained model packages for covfast: files and where they lie, nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

FOLDER = Path(__file__).parent
"""Folder of the packages, the model cards and `models.json`."""


def models() -> dict[str, dict[str, Any]]:
    """The index by name: file, sha256, size_bytes, task, licence, card."""
    index = json.loads((FOLDER / "models.json").read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = index["models"]
    return found


def path(name: str) -> Path:
    """The package file of a model.

    Raises:
        KeyError: There is no model of that name.
    """
    return FOLDER / str(models()[name]["file"])
