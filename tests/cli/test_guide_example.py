"""The guide's example of `covfast evaluate` prints what the guide says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
_NUMBER = re.compile(r"-?\d+(?:\.(\d+))?")


def blocks() -> tuple[str, str]:
    """The example's Python, and its session with the command line."""
    text = GUIDE.read_text(encoding="utf-8")
    found = re.search(r"An example that runs anywhere.*?```python\n(.*?)```\n```\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1], found[2]


def differences(shown: str, printed: str) -> list[str]:
    """Lines that are not the same but for one unit of a number's last digit."""
    wrong = []
    for one, other in zip(shown.splitlines(), printed.splitlines(), strict=True):
        is_same = _NUMBER.sub("#", one).split() == _NUMBER.sub("#", other).split()
        pairs = zip(_NUMBER.finditer(one), _NUMBER.finditer(other), strict=False)
        units = [abs(float(a[0]) - float(b[0])) * 10 ** len(a[1] or "") for a, b in pairs]
        if not is_same or max(units, default=0.0) > 1.001:
            wrong.append(f"{one} | {other}")
    return wrong


def test_differences_of_the_last_digit_alone_are_allowed() -> None:
    assert differences("a  0.7828  18.05\n", "a  0.7829  18.04\n") == []
    assert differences("a  0.7828\n", "a  0.7813\n") == ["a  0.7828 | a  0.7813"]
    assert differences("a  0.7828\n", "b  0.7828\n") != []


@pytest.mark.slow
def test_guide_example_prints_what_the_guide_says(tmp_path: Path) -> None:
    # The network's float32 sums depend on the CPU's instructions; the figures of this example do not on any backend
    # that was tried (baseline, avx2, avx512, avx512_bf16), so that the last digit is room enough for one that was not.
    python, session = blocks()
    subprocess.run([sys.executable, "-c", python], cwd=tmp_path, check=True)
    commands = re.findall(r"^\$ covfast (.*)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE)
    assert len(commands) == 2
    for words, shown in commands:
        command = [sys.executable, "-m", "covfast.cli", *shlex.split(words)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        if shown:
            assert differences(shown, done.stdout) == []
    assert (tmp_path / "evaluation" / "worst_1.png").exists()
