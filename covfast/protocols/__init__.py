"""Published experiments: their data, splits, labels and figures, and our row beside the published one.

    protocol = covfast.protocols.PROTOCOLS["task1-infection"]

`find` and `check` say what a folder holds of a data set, `run` checks, predicts and measures, `published_rows` are the
tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from covfast.protocols import ctseg, miniseg_sets, semiseg
from covfast.protocols.comparison import PublishedRow, published, published_rows
from covfast.protocols.datasets import Found, Part, check, find, part
from covfast.protocols.outcome import BenchmarkResult
from covfast.protocols.predict import Predictor
from covfast.protocols.protocol import EvaluationSet, Protocol
from covfast.protocols.running import Options, run
from covfast.protocols.sources import FolderSource, ModelSource
from covfast.protocols.splits import Fold

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {item.name: item for item in (*ctseg.protocols(), *semiseg.protocols(), *miniseg_sets.protocols())}
)
"""Name -> protocol."""

__all__ = [
    "PROTOCOLS",
    "BenchmarkResult",
    "EvaluationSet",
    "Fold",
    "FolderSource",
    "Found",
    "ModelSource",
    "Options",
    "Part",
    "Predictor",
    "Protocol",
    "PublishedRow",
    "check",
    "find",
    "part",
    "published",
    "published_rows",
    "run",
]
