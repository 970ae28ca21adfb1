"""From trained weights to a model package with its recipe, labels, licence and provenance."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covfast.errors import FormatError, ValueRangeError, WeightsError, describe, file_name
from covfast.outputs import replace_text
from covfast.package import canonical, read_metadata
from covfast.train.recipe import Recipe, flatten
from covfast.train.record import NAME, digest, read_record

if TYPE_CHECKING:
    from torch import Tensor

    from covfast.models.checkpoint import Checkpoint

LICENCE = "CC-BY-NC-SA-4.0"
"""Of weights trained on COVID-SemiSeg and COVID-19-CT-Seg: inherited from the data."""

SLICES, VOLUMES, BARE = "slices", "volumes", "bare"
KINDS: Mapping[str, str] = {
    "miniseg-infection": SLICES,
    "miniseg-lung": SLICES,
    "miniseg-lesions": SLICES,
    "miniseg": SLICES,
    "infnet": SLICES,
    "semi-infnet": SLICES,
    "infnet-multiclass": BARE,
    "unet": VOLUMES,
    "transfer": VOLUMES,
    "relation": VOLUMES,
}
"""System -> what its package does: infection in axial slices of the lungs, labels of a volume in windows, or the
network alone, which `covfast.load` runs. Other systems have no package."""

_NO_LICENCE = "The recipe states no licence (data.licence): that of the training data holds."
_NOT_TRAINING = ("name", "system", "threads", "data", "sources", "run")
"""Parts of a recipe that do not go into the package: its own name, folders of the user, how the run was carried out."""


def package(run: str | os.PathLike[str]) -> Path:
    """Write the model package RUN/<name>.covfast of a finished training, as `covfast.train.package`."""
    folder = Path(run)
    record, weights = _finished(folder)
    return _write(record["recipe"], weights, folder)


def _write(table: Mapping[str, Any], weights: Path, out: Path, remark: str = "") -> Path:
    """The package of weights by the recipe's system."""
    target = out / f"{table['name']}.covfast"
    checkpoint(table, weights, remark).export(target)
    return target


def publish(
    table: Mapping[str, Any], weights: str | os.PathLike[str], out: str | os.PathLike[str], remark: str = ""
) -> Path:
    """Write `<name>.covfast` into a folder and enter it in the folder's `models.json`.

    Args:
        table: Training recipe, as `read_recipe` gives it.
        weights: State dict that `train` wrote, beside its `run.json`.
        out: Folder of the packages.
        remark: What the recipe does not tell about this run; kept in the provenance.

    Returns:
        Path of the package.

    Raises:
        FormatError, WeightsError: The weights cannot be read or do not fit, or the record beside them does not.
    """
    target = _write(table, Path(weights), Path(out), remark)
    enter(target)
    return target


def enter(package: Path) -> None:
    """Enter a package in the `models.json` of its folder, by name."""
    index = package.parent / "models.json"
    held: dict[str, Any] = {"schema_version": 1, "models": {}}
    if index.exists():
        held = json.loads(index.read_text(encoding="utf-8"))
    metadata, content = read_metadata(package), package.read_bytes()
    named = [name for value, name in metadata["labels"].items() if value != "0"]
    held["models"][package.stem] = {
        "file": package.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "task": "infection" if "infection" in named else ", ".join(named),
        "licence": metadata["licence"],
        "card": f"{package.stem}.md",
    }
    replace_text(index, json.dumps(held, indent=2) + "\n")


def require_labels(table: Mapping[str, Any], *, is_picture: bool) -> None:
    """Refuse a recipe whose package gives no labels of pictures, or of volumes. Raises: ValueRangeError."""
    kind = KINDS.get(table["system"], BARE)
    if kind == BARE:
        got = f"{table['name']!r}, whose package, if any, is a network without a recipe"
        hint = "measure its maps with --predictions"
        raise ValueRangeError(describe("--recipe", got, "one that labels slices or volumes", hint))
    if is_picture and kind == VOLUMES:
        got = f"{table['name']!r}, which labels volumes"
        raise ValueRangeError(describe("--recipe", got, "one of slices: these cases are pictures"))


def recipe_digest(table: Mapping[str, Any]) -> str:
    """SHA-256 of a resolved recipe but for `run.*` and `threads`: the same for the same training.

    Of the canonical JSON text (`covfast.package`) of {dotted key: value}.
    """
    kept = {key: value for key, value in flatten(table).items() if key != "threads" and not key.startswith("run.")}
    return hashlib.sha256(canonical(kept).encode()).hexdigest()


def _finished(run: Path) -> tuple[dict[str, Any], Path]:
    """Record and weights of a finished run. Raises: FormatError, WeightsError."""
    record = read_record(run / NAME)
    where, system = f"{file_name(run)}: {NAME}", record.get("recipe", {}).get("system")
    if system not in KINDS:
        raise FormatError(describe(where, f"system {system!r}", f"one of {', '.join(KINDS)}"))
    if record.get("status") != "done":
        got = f"status {record.get('status')!r}"
        raise FormatError(describe(where, got, "a training that is done", "train it to its end"))
    weights = run / str(record["weights"]["file"])
    if not weights.is_file():
        raise WeightsError(describe("weights", f"no file {weights.name}", f"the weights that {NAME} names"))
    if digest(weights) != record["weights"]["sha256"]:
        raise WeightsError(describe(weights.name, "another content", f"the weights that {NAME} names"))
    return record, weights


def checkpoint(table: Mapping[str, Any], weights: Path, remark: str = "") -> Checkpoint:
    """The network of a training with recipe, labels, licence and provenance, as published weights come.

    Args:
        table: Resolved recipe.
        weights: State dict that `train` wrote, beside its `run.json`.
        remark: Goes into the provenance.

    Raises:
        FormatError, WeightsError: As `publish`.
    """
    from covfast.models.checkpoint import read_tensors
    from covfast.train.publish_slices import OWN

    tensors = read_tensors(weights)
    record = read_record(weights.parent / NAME)
    stage = kept_stage(record, table)
    own = OWN.get(table["system"])
    resolved = dict(table) if own else {**table, **stage.get("recipe", {})}
    found = own(table, tensors, weights.name) if own else _network(resolved, stage["facts"], tensors, weights.name)
    stated = LICENCE if own else table["data"].get("licence") or "unspecified"
    notes = (*found.notes, *([_NO_LICENCE] if stated == "unspecified" else []))
    about = {**_provenance(table, resolved, record, stage), "weights_sha256": digest(weights)}
    about |= {"data": own_data(table["system"])} if own else {}
    about |= {"remark": remark} if remark else {}
    return replace(found, licence=stated, notes=notes, provenance=about)


def own_data(system: str) -> list[str]:
    """What the weights that ship are trained on: their data are always the same."""
    made = ["synthetic chests of covfast.phantom"] if system == "miniseg-lung" else []
    return ["COVID-SemiSeg Doctor-label", "COVID-SemiSeg Pseudo-label slices", "COVID-19-CT-Seg masks", *made]


def kept_stage(record: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of the stage whose network is kept: the last one.

    Raises:
        FormatError: The record is of another recipe, or from before what a package needs was recorded.
    """
    if recipe_digest(record.get("recipe", {})) != recipe_digest(table):
        raise FormatError(describe(NAME, "the record of another recipe", f"that of {table['name']}"))
    stages: dict[str, dict[str, Any]] = record.get("stages", {})
    held = next(reversed(stages.values()), {})
    if "facts" not in held:
        hint = "run covfast train on the folder again: what is finished is only read"
        raise FormatError(describe(NAME, "no facts of the last stage", "those that the network was trained on", hint))
    return held


def _network(table: Recipe, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Checkpoint:
    """The network with its recipe, by system."""
    if KINDS[table["system"]] == VOLUMES:
        from covfast.train.publish_volumes import volumes

        return volumes(table, facts, tensors, name)
    from covfast.train.publish_slices import SYSTEMS

    return SYSTEMS[table["system"]](table, facts, tensors, name)


def _provenance(
    table: Mapping[str, Any], resolved: Recipe, record: Mapping[str, Any], stage: Mapping[str, Any]
) -> dict[str, Any]:
    """Where a package's weights come from; no name of a case, folder or machine."""
    return {
        "system": table["system"],
        "recipe": table["name"],
        "recipe_sha256": recipe_digest(table),
        "training": {key: value for key, value in resolved.items() if key not in _NOT_TRAINING},
        "cases": {side: len(names) for side, names in stage.get("splits", {}).items()},
        "steps": stage.get("steps"),
        "commit": record.get("commit"),
        "use": "research only, not a medical device",
    }
