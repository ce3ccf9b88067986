"""What each method of pre-training says of itself, read from its source: importing it loads torch.

A method is a class with a name in `catlip/categorical.py`, in a file of `baselines/`, or in one of
a folder that the environment variable CATLIP_METHODS names (several with `:` between them).
"""

import ast
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

# What a loss asks, and what of a caption is read: each pair is one method, and all are compared.
CONTRAST, SOFTMAX, BINARY = LOSSES = ("contrast", "softmax", "binary")
NOUNS, WORDS = READ = ("nouns", "all words")
# A line of a class: `name = "toy"`, `name, label = "toy", "Toy"`, `name: str = "toy"`.
ASSIGNED = re.compile(r"^    (\w+(?:, \w+)*)(?:: [^=\n]+)? = (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class MethodFacts:
    """The module of a method, and what its class itself states of these attributes, which
    `catlip.objective.Objective` explains. `needs` is None where only a class above it states it.
    """

    module: str
    name: str
    label: str = ""
    colour: str = ""
    marker: str = ""
    order: int = 100
    needs: frozenset[str] | None = None
    classes: str = "nouns"
    asks: str = ""
    reads: str = ""
    scores_captions: bool = False

    @property
    def may_need_nouns(self) -> bool:
        return (self.needs is None or "labels" in self.needs) and self.classes == "nouns"

    @property
    def may_be_packed(self) -> bool:
        """Whether its text tower has blocks, which compute what pads a caption, too."""
        return self.reads == "sentences"


def methods() -> dict[str, MethodFacts]:
    """Every method by name, in the order of tables."""
    return _read_methods(tuple(user_folders()))


def baseline_names() -> list[str]:
    """The methods of `baselines.pretrain`: all but the forms of CatLIP."""
    return [name for name, facts in methods().items() if facts.module.startswith("baselines.")]


def crossed_methods() -> dict[tuple[str, str], str]:
    """(what it asks, what it reads) -> the first method that does."""
    found = {(facts.asks, facts.reads): facts.name for facts in reversed(methods().values())}
    return {pair: found[pair] for pair in product(LOSSES, READ)}


def user_folders() -> Iterator[Path]:
    for folder in filter(None, os.environ.get("CATLIP_METHODS", "").split(os.pathsep)):
        if not os.path.isdir(folder):
            _stop(f"CATLIP_METHODS names {folder!r}, which is not a folder")
        yield Path(folder)


@cache
def _read_methods(folders: tuple[Path, ...]) -> dict[str, MethodFacts]:
    package = Path(__file__).parent.parent
    files = {"catlip.categorical": package / "categorical.py"}
    for folder in (package.parent / "baselines", *folders):
        files |= {f"baselines.{file.stem}": file for file in sorted(folder.glob("*.py"))}
    found = []
    for module, file in files.items():
        try:
            found += [
                MethodFacts(module, **stated) for stated in _stated_by_classes(file.read_text())
            ]
        except (SyntaxError, ValueError) as error:
            _stop(f"{file} is not a method: {type(error).__name__}: {error}")
    return {facts.name: facts for facts in sorted(found, key=lambda facts: facts.order)}


def _stated_by_classes(source: str) -> Iterator[dict[str, Any]]:
    """The attributes of each class with a name. Raises: ValueError if one is not written out."""
    wanted = {field.name for field in fields(MethodFacts)} - {"module"}
    for statement in re.split(r"^class ", source, flags=re.MULTILINE)[1:]:
        stated = dict[str, Any]()
        for names, value in ASSIGNED.findall(statement):
            if wanted & {*(keys := names.split(", "))}:
                written = ast.literal_eval(value.replace("frozenset(", "("))
                stated |= zip(keys, written if len(keys) > 1 else [written], strict=True)
        if "name" in stated:
            yield {key: value for key, value in stated.items() if key in wanted}


def _stop(message: str) -> NoReturn:
    # Not an InputError: programs read the names of methods before their command lines.
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
