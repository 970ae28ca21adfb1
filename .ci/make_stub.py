"""Writes covfast/_core.pyi from the built module; `--check` compares instead and fails where they differ."""

import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

COMMITTED = Path(__file__).resolve().parents[1] / "covfast" / "_core.pyi"


def generate() -> str:
    """The stub of the module that is installed, formatted as the rest of the code."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "covfast._core", "-o", folder, "--exit-code"]
        subprocess.run(command, check=True, cwd=folder)
        stub = Path(folder) / "covfast" / "_core.pyi"
        config = COMMITTED.parents[1] / "pyproject.toml"
        subprocess.run(["ruff", "check", "-q", "--fix-only", "--config", str(config), str(stub)], check=True)
        subprocess.run(["ruff", "format", "-q", "--config", str(config), str(stub)], check=True)
        return stub.read_text(encoding="utf-8")


def main() -> int:
    """Exit code 1 if `--check` finds a difference."""
    new = generate()
    if "--check" not in sys.argv:
        COMMITTED.write_text(new, encoding="utf-8")
        return 0
    old = COMMITTED.read_text(encoding="utf-8")
    if old != new:
        sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "committed", "built"))
        print("covfast/_core.pyi is out of date: python .ci/make_stub.py", file=sys.stderr)
    return int(old != new)


if __name__ == "__main__":
    sys.exit(main())
