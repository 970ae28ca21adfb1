"""No instruction-set code may leak through the linker: the per-instruction-set objects hold no weak symbol, which the
linker would merge with another object's copy of the same name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def objects() -> list[Path]:
    """Objects of the newest build below build/ (or COVFAST_BUILD_DIR)."""
    base = Path(os.environ.get("COVFAST_BUILD_DIR", ROOT / "build"))
    found = sorted(path for path in base.rglob("kernels_*.dir/**/*.o") if "cuda_on_cpu" not in str(path))
    if not found:
        pytest.skip("no build folder with objects: build from a checkout to run this gate")
    return found


def weak_symbols(path: Path) -> list[str]:
    listing = subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if re.search(r" [WVu] (?!DW\.ref)", line)]


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_isa_objects_hold_no_weak_symbols() -> None:
    leaks = {path.name: weak for path in objects() if (weak := weak_symbols(path))}
    assert not leaks


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_isa_gate_catches_a_shared_inline_function(tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    source = tmp_path / "leak.cpp"
    source.write_text(
        "inline __attribute__((noinline)) int twice(int x) { return 2 * x; }\nint f(int x) { return twice(x); }\n"
    )
    subprocess.run([compiler, "-O2", "-c", str(source), "-o", str(tmp_path / "leak.o")], check=True)
    assert weak_symbols(tmp_path / "leak.o")
