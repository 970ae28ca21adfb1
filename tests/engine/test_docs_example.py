"""The example of docs/engine.md runs and prints what stands there."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "engine.md"


def test_example_of_the_engine_prints_what_the_docs_say(model: str) -> None:
    found = re.search(r"```python\n(.*?)```\n```\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(found[1], str(DOCS), "exec"), {})
    assert printed.getvalue() == found[2]
