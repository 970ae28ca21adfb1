"""Prints one of the README's two set-up commands: `readme_command.py demo|tests`."""

import re
import sys
from pathlib import Path

ORDER = ("demo", "tests")

readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
blocks = re.findall(r"```bash\n(.*?)```", readme, flags=re.DOTALL)
print(blocks[ORDER.index(sys.argv[1])].strip())
