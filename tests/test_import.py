"""`import covfast` is light: it loads none of the heavy packages and costs little more than NumPy."""

from __future__ import annotations

import json
import subprocess
import sys

FORBIDDEN = [
    "torch",
    "SimpleITK",
    "pydicom",
    "rich",
    "scipy",
    "PIL",
    "matplotlib",
    "highdicom",
    "ray",
    "nibabel",
    "covfast._core",
]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_loads_no_heavy_module() -> None:
    code = "import covfast, sys, json; print(json.dumps(sorted(sys.modules)))"
    assert not set(json.loads(run(code))) & set(FORBIDDEN)


def test_import_adds_at_most_100_ms_of_cpu_to_numpy() -> None:
    code = "import time, numpy; t = time.process_time(); import covfast; print(time.process_time() - t)"
    assert sorted(float(run(code)) for _ in range(3))[1] < 0.1


def test_public_names_all_exist() -> None:
    import covfast

    missing = [name for name in covfast.__all__ if not hasattr(covfast, name)]
    assert missing == []


def test_a_module_never_takes_the_place_of_the_function_of_its_name() -> None:
    code = """
import covfast, covfast.report, covfast.info
from covfast.export import export
from covfast.info import versions
print(callable(covfast.info), callable(covfast.export), covfast.export is export, callable(versions))
"""
    assert run(code).split() == ["True"] * 4
