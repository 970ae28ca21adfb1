"""What a protocol is: data, divisions, labels, and the published script whose figures it compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from covfast.errors import ValueRangeError, describe
from covfast.protocols.splits import Fold

LUNGS: Mapping[str, int] = {"left lung": 1, "right lung": 2}
INFECTION = "infection"
"""The label of every lesion: the benchmark's script calls a tumour or an effusion "Lesion" too."""


@dataclass(frozen=True)
class EvaluationSet:
    """Cases that a protocol tests on.

    Attributes:
        name: as `--test` takes it.
        data, part: which data set and which of its masks; keys of `datasets.json`.
        folds: the divisions; `test` of each is measured.
        targets: the labels that are measured.
        truth_value: of 2-D sets whose truths hold several classes, the value of the one that is measured.
        is_published: whether published figures are of these cases; training cases have none.
    """

    name: str
    data: str
    part: str
    folds: tuple[Fold, ...]
    targets: tuple[str, ...] = (INFECTION,)
    truth_value: int | None = None
    is_published: bool = True


@dataclass(frozen=True)
class Protocol:
    """A published experiment.

    Attributes:
        name: as the command line takes it.
        title: one line.
        convention: the published script that is followed, a key of `covfast.metrics.CONVENTIONS`.
        setting: of the rows of `tables.json` that it is compared with.
        sets: what it tests on; the first is the default.
        readings: what in it is our reading of the publication.
    """

    name: str
    title: str
    convention: str
    setting: str
    sets: tuple[EvaluationSet, ...]
    readings: tuple[str, ...] = ()

    def set_called(self, name: str | None) -> EvaluationSet:
        """The set of a name, the first without one. Raises: ValueRangeError: the protocol has no such set."""
        known = {item.name: item for item in self.sets}
        if name is None:
            return self.sets[0]
        if name not in known:
            raise ValueRangeError(describe("test", repr(name), " or ".join(map(repr, known)), f"{self.name} has these"))
        return known[name]

    def parts(self) -> tuple[tuple[str, str], ...]:
        """Every (data, part) that it trains on or tests."""
        return tuple(dict.fromkeys((item.data, item.part) for item in self.sets))
