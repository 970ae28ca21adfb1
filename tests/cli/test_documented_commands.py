"""Commands of the pages about systems and protocols: their flags, recipes, keys and protocols are there."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from covfast.cli import build_parser
from covfast.cli.train import changes
from covfast.protocols import PROTOCOLS
from covfast.train.recipe import fold_count, read_recipe

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("benchmark", "infnet", "relation", "transfer")
COMMANDS = [
    shlex.split(line.removeprefix("$ covfast "), comments=True)
    for page in PAGES
    for line in (DOCS / f"{page}.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("$ covfast ")
]


def of(name: str) -> list[list[str]]:
    return [words for words in COMMANDS if words[0] == name]


@pytest.mark.parametrize("words", of("train"), ids=" ".join)
def test_a_documented_training_is_a_recipe_with_keys_that_exist(words: list[str]) -> None:
    args = build_parser().parse_args(words)
    table = read_recipe(args.recipe, changes(args))
    assert fold_count(table) == (5 if args.fold == "all" else fold_count(table))


@pytest.mark.parametrize("words", of("benchmark"), ids=" ".join)
def test_a_documented_benchmark_is_a_protocol_that_exists(words: list[str]) -> None:
    args = build_parser().parse_args(words)
    PROTOCOLS[args.protocol].set_called(args.test)
    if args.recipe is not None:
        read_recipe(args.recipe)


def test_the_pages_have_commands_of_both_kinds() -> None:
    assert len(of("train")) > 8
    assert len(of("benchmark")) > 5
