"""The corpus of broken model packages that the fuzzers start from, made from the tables of the tests.

    python tests/engine/broken_packages.py FOLDER      (with covfast installed) writes each as a file

Each is a whole package with one thing wrong, so that mutations of it reach code behind the first check.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.conftest import small_graph, small_tensors, wide_graph, wide_tensors, write_package
from engine.test_graph import BROKEN
from engine.test_package import HEADERS, assemble, parts
from engine.test_recipe import BAD, STAGES, make


def corpus(folder: Path) -> dict[str, bytes]:
    """Packages by name: three whole ones, and those with a broken header, graph, recipe or end."""
    path = folder / "seed.covfast"
    found = {"small": write_package(path, small_graph(), small_tensors()).read_bytes()}
    found["wide"] = write_package(path, wide_graph(), wide_tensors()).read_bytes()
    found["recipe"] = make(path, STAGES).read_bytes()
    found |= {f"recipe: {case}": make(path, stages).read_bytes() for case, stages in BAD.items()}
    for case, (break_it, _) in BROKEN.items():
        graph = small_graph()
        break_it(graph)
        rank_and_channels = {"channels": 3, "rank": 2, "multiple": [1, 1]}
        graph["inputs"] = graph["inputs"] or small_graph()["inputs"]
        found[f"graph: {case}"] = write_package(path, graph, small_tensors(), **rank_and_channels).read_bytes()
    for case, change in HEADERS.items():
        header, data = parts(write_package(path, small_graph(), small_tensors()))
        change(header)
        found[f"header: {case}"] = assemble(path, header, data).read_bytes()
    for share in (0.1, 0.5, 0.9):
        found[f"first {share:.0%}"] = found["wide"][: int(share * len(found["wide"]))]
    return found


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in corpus(Path(scratch)).items():
            (target / f"{name.replace(' ', '_').replace(':', '')}.covfast").write_bytes(content)
