"""What data sets and tasks are called, and what is known of them: `published/data_sets.csv` of what
this repository's encoders were trained on, `published/tasks.csv` of what encoders are tested on.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from catlip.records.claims import likeness
from catlip.records.table import clipped

PUBLISHED = Path(__file__).parent / "published"
COMMITTED = Path(__file__).parent / "records"
STARTER = "starter"  # which any user has, too


@dataclass(frozen=True)
class DataSet:
    """What encoders were trained on. `name` is for readers, `short` for sentences and figures;
    what a user trained on has no other facts.
    """

    scale: str
    name: str
    short: str
    set: str = ""
    where: str = ""
    licence: str = ""
    images: str = ""
    captions: str = ""
    trained_on: str = ""
    command: str = ""


@cache
def data_sets() -> dict[str, DataSet]:
    """Scale -> what this repository trained on, those most like the paper's data first."""
    with open(PUBLISHED / "data_sets.csv", newline="", encoding="utf-8") as file:
        known = {row["scale"]: DataSet(**row) for row in csv.DictReader(file)}
    return {scale: known[scale] for scale in likeness()}


@cache
def task_facts() -> dict[str, dict[str, str]]:
    """Task -> its title, what it is, and how many images are trained on and tested on."""
    with open(PUBLISHED / "tasks.csv", newline="", encoding="utf-8") as file:
        return {row["task"]: row for row in csv.DictReader(file)}


def is_committed(root: str) -> bool:
    """Whether records are of this repository."""
    return Path(root).resolve() == COMMITTED


def data_of(root: str, scale: str) -> DataSet:
    """A user's own data are called by their folder."""
    if scale in data_sets() and (is_committed(root) or scale == STARTER):
        return data_sets()[scale]
    name = clipped(f"{Path(root).name}/{scale}", 40)
    return DataSet(scale, name, name)


def rank_of(root: str, scale: str) -> tuple[bool, int, str, str]:
    """A sort key: a user's own data, the starter last; then ours by likeness to the paper's."""
    ours, scales = is_committed(root), [*data_sets()]
    if scale in scales and (ours or scale == STARTER):
        return ours, scales.index(scale), root, scale
    return ours, len(scales) if ours else -1, root, scale


def task_name(task: str) -> str:
    """`CIFAR-10`; a user's task is called by its folder. A part of a task keeps its name."""
    name, comma, part = task.partition(", ")
    known = task_facts().get(name)
    title = known["title"] if known else clipped(name, 24)
    return f"{title}{comma}{clipped(part, 24) if part else ''}"


def synset_name(synset: str) -> str:
    """`pickup truck` of `pickup_truck.n.01`."""
    return clipped(re.sub(r"\.n\.\d+$", "", synset).replace("_", " "), 24)


def length_of(epochs: float | None) -> str:
    """`, 50 epochs` behind the name of a data set; nothing where it is not known."""
    return f", {epochs:g} epoch{'s' * (epochs != 1)}" if epochs else ""
