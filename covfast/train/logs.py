"""The log of a run: `log.csv`, and TensorBoard's files where asked for."""

# torch is not followed by the type checker: its classes and functions are Any.

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covfast.errors import BackendUnavailable, OutputError, describe
from covfast.outputs import replace_text

COLUMNS = ("step", "loss", "rate", "seconds", "waiting_percent", "score")
"""waiting_percent: part of the interval's time in which the loop waited for data; score: of the validation at this
step, empty where none was made."""


class Log:
    """Rows of one run. A resumed run drops the rows behind its checkpoint, so that every step stands once.

    Args:
        folder: Of `log.csv`.
        step: At which the run begins.
        tensorboard: Whether the numbers also go to TensorBoard's files, in `folder/tensorboard`.
        is_first: False in the other processes of a distributed run: they write nothing.

    Raises:
        BackendUnavailable: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool = False, is_first: bool = True) -> None:
        self.path = folder / "log.csv"
        self.writer: Any = None
        self.is_first = is_first
        if not is_first:
            return
        kept = [row for row in read_log(self.path) if int(row["step"]) <= step]
        text = _text([COLUMNS, *(row.values() for row in kept)])
        replace_text(self.path, text)
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                expected = "the package tensorboard"
                raise BackendUnavailable(
                    describe("run.tensorboard", "no tensorboard", expected, "pip install tensorboard")
                ) from error
            self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, row: Mapping[str, str]) -> None:
        """One row; columns that it lacks stay empty. Raises: OutputError: it cannot be written."""
        if not self.is_first:
            return
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(_text([[row.get(name, "") for name in COLUMNS]]))
        except OSError as error:
            raise OutputError(describe(self.path.name, error.strerror or "an error", "a log that can grow")) from None
        if self.writer is not None:
            for name in COLUMNS[1:]:
                if row.get(name):
                    self.writer.add_scalar(name, float(row[name]), int(row["step"]))

    def close(self) -> None:
        """Close TensorBoard's files."""
        if self.writer is not None:
            self.writer.close()


def read_log(path: Path) -> list[dict[str, str]]:
    """Whole rows of a `log.csv`, with the columns of today; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    whole = [row for row in rows if (row.get("step") or "").isdigit() and None not in row]
    return [{name: row.get(name) or "" for name in COLUMNS} for row in whole]


def _text(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
