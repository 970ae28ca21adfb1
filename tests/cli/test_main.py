"""`python -m covfast`: the command line by the package's name."""

from __future__ import annotations

import subprocess
import sys

import pytest

import covfast


@pytest.mark.parametrize("module", ["covfast", "covfast.cli"])
def test_module_runs_the_command_line(module: str) -> None:
    command = [sys.executable, "-m", module]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"covfast {covfast.__version__}\n"
    assert subprocess.run([*command, "nonsense"], capture_output=True, check=False).returncode == 2
