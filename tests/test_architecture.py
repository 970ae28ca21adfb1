"""Who may import whom: reads imports and includes, and fails on a breach of CONTRIBUTING's table."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "covfast"
CSRC = ROOT / "csrc"

# Part of the package -> parts it may import. A part is a file or folder directly under covfast/.
BASE = {"errors", "volume", "outputs", "adapters", "cancellation"}
PYTHON = {
    "errors": set(),
    "volume": {"errors"},
    "outputs": {"errors"},
    "adapters": {"errors", "volume"},
    "cancellation": {"errors"},
    "package": {*BASE, "_core", "layers"},
    "shapes": BASE,
    "layers": {*BASE, "shapes"},
    "simplify": {*BASE, "shapes", "simplify_rules", "package"},
    "simplify_rules": {*BASE, "shapes", "simplify"},
    "lowering": BASE,
    "lowering_windows": {*BASE, "lowering"},
    "lowering_ops": {*BASE, "lowering", "lowering_windows"},
    "io": BASE,
    "metrics": {*BASE, "_core"},
    "ops": {*BASE, "_core"},
    "component_ops": {*BASE, "_core"},
    "slice_ops": {*BASE, "_core"},
    "resample_ops": {*BASE, "_core"},
    "sliding": {*BASE, "_core", "sliding_arguments", "torch_threads"},
    "torch_threads": {"_core"},
    "lung_fields": {*BASE, "component_ops", "ops"},
    "memory": BASE,
    "sliding_arguments": BASE,
    "window_ops": {*BASE, "_core"},
    "winograd_ops": {*BASE, "_core"},
    "blocked_ops": {*BASE, "_core"},
    "planar_ops": {*BASE, "_core"},
    "blocked_layers": {*BASE, "_core", "blocked_ops"},
    "blocked_conv": {*BASE, "_core", "blocked_ops"},
    "models": {*BASE, "package", "export"},
    "engines": {*BASE, "_core", "package"},
    "export": {*BASE, "_core", "package", "engines", "lowering", "lowering_ops", "shapes", "simplify"},
    "info": {*BASE, "_core", "covfast"},
    "phantom": BASE,
    "statistics": BASE,
    "preview": BASE,
    "images": {*BASE, "io"},
    "result": {*BASE, "io", "report", "statistics"},
    "pipeline": {
        *BASE,
        "_core",
        "io",
        "engines",
        "images",
        "lung_fields",
        "memory",
        "models",
        "ops",
        "package",
        "report",
        "result",
        "batch",
    },
    "batch": {*BASE, "pipeline"},
    "locks": BASE,
    "manifest": {*BASE, "io", "info", "locks"},
    "predictions": {*BASE, "io", "pipeline", "report"},
    "report": {*BASE, "io", "info", "statistics", "preview", "pipeline", "memory"},
    "evaluation": {*BASE, "_core", "evaluation_files", "io", "metrics"},
    "evaluation_files": {*BASE, "io"},
    "overlay": {*BASE, "preview"},
    "evaluation_report": {*BASE, "evaluation", "io", "metrics", "info", "overlay", "report"},
    "protocols": {
        *BASE,
        "engines",
        "evaluation",
        "evaluation_report",
        "info",
        "io",
        "metrics",
        "models",
        "ops",
        "pipeline",
        "report",
    },
    "train": {
        *BASE,
        "info",
        "io",
        "locks",
        "protocols",
        "models",
        "metrics",
        "export",
        "package",
        "phantom",
        "resample_ops",
        "sliding",
    },
    "__main__": {"cli"},
}
EVERYTHING = {"cli", "__init__"}  # may import all; only __main__ imports cli

# Heavy packages are imported inside the function that needs them, in these parts at module level.
HEAVY = {"torch", "SimpleITK", "pydicom", "PIL", "rich", "highdicom", "scipy", "matplotlib", "ray", "cupy"}
TORCH_PARTS = {
    "engines/torch.py",
    "models/checkpoint.py",
    "models/hybrid.py",
    "models/infnet.py",
    "models/infnet_files.py",
    "models/infnet_multiclass.py",
    "models/lungmask.py",
    "models/miniseg.py",
    "models/miniseg_ablations.py",
    "models/miniseg_files.py",
    "models/multihead.py",
    "models/nnunet.py",
    "models/nnunet_network.py",
    "models/nnunet_v1.py",
    "models/relation.py",
    "models/res2net.py",
    "models/state_dict.py",
    "models/torch_archive.py",
    "models/transfer.py",
    "models/unet.py",
}

# C++ folder -> folders whose headers it may include.
CPP = {
    "core": {"core"},
    "cpu": {"core", "kernels", "cpu"},
    "cuda": {"core", "kernels", "cpu", "cuda"},
    "kernels": {"core", "kernels", "cpu", "cuda"},
    "engine": {"core", "kernels", "engine"},
    "capi": {"core", "kernels", "engine", "capi"},
    "python": {"core", "kernels", "engine", "python"},
}
PER_ISA_STD = {"cstdint", "cstddef", "cstring", "cstdlib", "cmath", "immintrin.h"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, at module level) of every import of a file; `if TYPE_CHECKING:` does not run and does not count."""
    found: list[tuple[str, bool]] = []

    def walk(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                found.extend((alias.name, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                assert child.level == 0, f"{path}: relative import"
                deep = [f"covfast.{a.name}" if child.module == "covfast" else child.module for a in child.names]
                found.extend((module, top) for module in deep)
            walk(child, top and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))

    walk(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_python_imports_follow_the_table(path: Path) -> None:
    part = "phantom" if part_of(path).startswith("_phantom") else part_of(path)
    for module, at_top in imports(path):
        top, _, rest = module.partition(".")
        if top == "covfast" and part not in EVERYTHING:
            target = "phantom" if rest.startswith("_phantom") else rest.split(".")[0] or "covfast"
            allowed = PYTHON[part] | {part}
            assert target in allowed, f"{path.name} imports {module}; {part} may import {sorted(allowed)}"
        if top in HEAVY and at_top:
            inside = str(path.relative_to(PACKAGE))
            trains = part == "train" and top in ("torch", "PIL")  # nobody gets there without covfast[train]
            assert trains or (top == "torch" and inside in TORCH_PARTS), f"{path.name}: {top} at module level"


@pytest.mark.parametrize(
    "path",
    sorted(p for p in CSRC.rglob("*") if p.suffix in (".h", ".cpp", ".cu")),
    ids=lambda p: str(p.relative_to(CSRC)),
)
def test_cpp_includes_follow_the_table(path: Path) -> None:
    folder = path.relative_to(CSRC).parts[0]
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r'#include "([^"]+)"', text):
        if name == "errors.def":
            continue
        assert "/" in name, f"{path.name}: include {name} by its path under csrc/"
        assert name.split("/")[0] in CPP[folder], f"{path.name} includes {name}"
        assert not name.startswith("cuda/") or path.suffix == ".cu" or folder == "cuda"
    for name in re.findall(r"#include <([^>]+)>", text):
        foreign = name.startswith(("pybind11", "Python.h", "torch", "NvInfer"))
        assert not foreign or folder == "python", f"{path.name} includes <{name}>"
        assert not name.startswith("cuda") or folder == "cuda", f"{path.name} includes <{name}>"
        if path.name.endswith(("_cpu.cpp", "_body.h")) or folder == "cpu":
            assert name in PER_ISA_STD, f"{path.name} is compiled per instruction set and includes <{name}>"
