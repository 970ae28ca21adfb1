"""From trained weights to a model package with its recipe, labels, licence and provenance."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covfast.volume import LABELS

LICENCE = "CC-BY-NC-SA-4.0"
"""Of weights trained on COVID-SemiSeg and COVID-19-CT-Seg: inherited from the data."""


def inference_recipe(table: Mapping[str, Any]) -> dict[str, Any]:
    """The stages of use that belong to a training recipe: the network gets what it was trained on."""
    from covfast.models.checkpoint import slice_recipe

    given = table["input"]
    return slice_recipe(given["window_hu"], given["size"], given["mean"], given["std"], given["margin_mm"])


def publish(
    table: Mapping[str, Any], weights: str | os.PathLike[str], out: str | os.PathLike[str], remark: str = ""
) -> Path:
    """Write `<name>.covfast` into a folder and enter it in the folder's `models.json`.

    Args:
        table: Training recipe, as `read_recipe` gives it.
        weights: State dict that `train` wrote.
        out: Folder of the packages.
        remark: What the recipe does not tell about this run; kept in the provenance.

    Returns:
        Path of the package.

    Raises:
        FormatError, WeightsError: The weights cannot be read or do not fit.
    """
    from covfast.export import export
    from covfast.models.checkpoint import import_checkpoint

    name, size = str(table["name"]), int(table["input"]["size"])
    target = Path(out) / f"{name}.covfast"
    provenance = {
        "training": {key: table[key] for key in ("model", "seed", "split", "optimisation", "augmentation")},
        "data": ["COVID-SemiSeg Doctor-label", "COVID-SemiSeg Pseudo-label slices", "COVID-19-CT-Seg masks"],
        "use": "research only, not a medical device",
        "remark": remark,
    }
    export(
        import_checkpoint(weights).module,
        target,
        input_shape=(1, 3, size, size),
        recipe=inference_recipe(table),
        labels=dict(LABELS),
        licence=LICENCE,
        provenance=provenance,
    )
    enter(target)
    return target


def enter(package: Path) -> None:
    """Enter a package in the `models.json` of its folder, by name."""
    index = package.parent / "models.json"
    held: dict[str, Any] = {"schema_version": 1, "models": {}}
    if index.exists():
        held = json.loads(index.read_text(encoding="utf-8"))
    content = package.read_bytes()
    held["models"][package.stem] = {
        "file": package.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "task": "infection",
        "licence": LICENCE,
        "card": f"{package.stem}.md",
    }
    index.write_text(json.dumps(held, indent=2) + "\n", encoding="utf-8")
