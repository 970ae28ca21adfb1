"""The schemas that ship are themselves valid, and hold what their outputs need."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema
import numpy as np
import pytest

from covfast.report import run_facts
from covfast.volume import Geometry, Volume

NAMES = ("statistics", "run", "evaluation", "metrics", "manifest")
RUN = {
    "model": {"name": "miniseg-infection", "sha256": "0" * 64, "licence": {"name": "CC-BY-NC-4.0"}},
    "engine": "native",
    "precision": "fp32",
    "device": "cpu",
    "backend": "avx2",
    "threads": 2,
    "stages_ms": {"read": 1.5, "lungs": 20.0},
}


def load(name: str) -> dict[str, Any]:
    text = resources.files("covfast").joinpath(f"schemas/{name}.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def facts(status: str = "ok") -> dict[str, Any]:
    geometry = Geometry.from_spacing((2, 3, 4), (1.0, 0.7, 0.7))
    note = {"code": "PADDING_TO_AIR", "message": "5 voxels", "value": 5}
    volume = Volume(np.zeros((2, 3, 4), np.int16), geometry, (note,), {"modality": "CT", "source": "dicom"})
    return {**run_facts(volume, RUN, status, "covfast segment IN -o OUT"), "warnings": []}


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_valid_and_versioned(name: str) -> None:
    schema = load(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema_version"] == {"const": 1}


@pytest.mark.parametrize("status", ["ok", "no_lungs"])
def test_run_facts_follow_the_schema(status: str) -> None:
    jsonschema.validate(json.loads(json.dumps(facts(status))), load("run"))


@pytest.mark.parametrize(
    "change", [{"status": "fine"}, {"device": "gpu"}, {"stages_ms": {}}, {"peak_memory_mib": 0}, {"threads": 0}]
)
def test_run_schema_refuses_wrong_values(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**facts(), **change}, load("run"))


@pytest.mark.parametrize("key", ["versions", "model", "input", "notes", "warnings", "labels", "command"])
def test_run_schema_misses_nothing(key: str) -> None:
    whole = facts()
    del whole[key]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(whole, load("run"))
