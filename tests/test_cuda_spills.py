"""Every CUDA kernel compiles for every architecture that is shipped, and keeps its values in registers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "csrc").rglob("*.cu"))


def architectures() -> list[str]:
    """Those of CMakeLists.txt: 80, 90a, ..."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(r"set\(CMAKE_CUDA_ARCHITECTURES ([^)]*)\)", text)
    assert found is not None
    return [name.removesuffix("-real") for name in found[1].split()]


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_cuda_kernels_neither_spill_nor_use_a_stack(source: Path, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    targets = [f"-gencode=arch=compute_{name},code=sm_{name}" for name in architectures()]
    flags = ["-std=c++20", "-O3", "-DNDEBUG", "-DCOVFAST_ISA=cuda", f"-I{ROOT / 'csrc'}", "-Xptxas", "-v"]
    command = [nvcc, *flags, *targets, "-c", str(source), "-o", str(tmp_path / "kernel.o")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    bad, kernel = [], ""
    for line in run.stderr.splitlines():
        kernel = line.split("Compiling entry function", 1)[-1] if "Compiling entry function" in line else kernel
        if re.search(r"[1-9]\d* bytes (stack frame|spill)", line):
            bad.append(f"{kernel}: {line.strip()}")
    assert not bad, "\n".join(bad)
    has_kernels = "__global__" in source.read_text(encoding="utf-8")
    assert not has_kernels or "bytes stack frame" in run.stderr, "the compiler reported nothing"
