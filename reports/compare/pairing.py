"""Pairs the records to compare: two files, or records with the same path in two folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from catlip.cli import InputError
from catlip.results.run import Problem, Records, Run
from catlip.table import clipped, listed
from reports.read.records import read_records

# The files in a folder that is a kind, a scale, or a whole root.
LEVELS = ("NAME.json", "KIND/NAME.json", "SCALE/KIND/NAME.json")


@dataclass(frozen=True)
class Pair:
    """Two records of one kind. `name` is the path that both have in their folders, such as
    `starter/pretrain/catlip-seed0`; for two files, their kind and names.
    """

    name: str
    one: Run
    other: Run


@dataclass(frozen=True)
class Pairing:
    """The pairs, and a sentence on everything that has no partner, is incomplete or no record."""

    pairs: tuple[Pair, ...]
    asides: tuple[str, ...]


def pair_records(one: Path, other: Path) -> Pairing:
    """Pair the records of two files, or of two folders by their paths inside the folders.

    Args:
        one, other: two records of one kind; or two folders of the same level: a root such as
            `runs`, a scale or a kind.
    Raises: InputError if one does not exist or is no record, or if the two have nothing in common.
    """
    for place in (one, other):
        if not place.exists():
            raise InputError(f"no such file or folder: {place}")
    if one.is_dir() != other.is_dir():
        raise InputError(
            f"a file cannot be compared with a folder: {one} and {other}; give two files or two "
            "folders"
        )
    return _of_folders(one, other) if one.is_dir() else _of_files(one, other)


def _of_files(one: Path, other: Path) -> Pairing:
    first, second = _read_file(one), _read_file(other)
    if first.kind != second.kind:
        kinds = f"{one} is a {clipped(first.kind)}, {other} a {clipped(second.kind)}"
        raise InputError(f"nothing in common: {kinds}; give two records of one kind")
    names = dict.fromkeys((clipped(first.name), clipped(second.name)))
    return Pairing((Pair(f"{clipped(first.kind)}: {' and '.join(names)}", first, second),), ())


def _read_file(path: Path) -> Run:
    records = read_records([path])
    if records.problems:
        raise InputError(f"not a record: {path}: {records.problems[0].reason}")
    return records.every[0]


def _of_folders(one: Path, other: Path) -> Pairing:
    (level, first), (other_level, second) = _read_folder(one), _read_folder(other)
    if level != other_level:
        raise InputError(
            f"nothing in common: {one} holds {LEVELS[level]}, {other} {LEVELS[other_level]}; give "
            "two folders of one level"
        )
    ours, theirs = _by_name(one, first), _by_name(other, second)
    pairs = tuple(Pair(name, ours[name], theirs[name]) for name in ours if name in theirs)
    alike = tuple(pair for pair in pairs if pair.one.kind == pair.other.kind)
    if not alike:
        held = f"{one} ({listed([*ours])}) and {other} ({listed([*theirs])})"
        raise InputError(f"nothing in common: no record has the same kind and name in {held}")
    asides = [
        *_alone("A", [name for name in ours if name not in theirs]),
        *_alone("B", [name for name in theirs if name not in ours]),
        *(
            f"left out: {clipped(pair.name)} is of another kind in B than in A"
            for pair in pairs
            if pair.one.kind != pair.other.kind
        ),
        *(_aside("A", problem) for problem in first.problems),
        *(_aside("B", problem) for problem in second.problems),
    ]
    return Pairing(alike, tuple(asides))


def _read_folder(folder: Path) -> tuple[int, Records]:
    """The first of LEVELS that has records, and those records; deeper files belong to a run."""
    problems: list[Problem] = []
    for level in range(len(LEVELS)):
        paths = folder.glob("/".join("*" * (level + 1)))
        named = (
            path
            for path in paths
            if path.name.endswith((".json", ".json.partial")) and not path.name.startswith(".")
        )
        records = read_records([path for path in sorted(named) if not path.is_dir()])
        if records.every:
            return level, records
        problems += records.problems
    left_out = ""
    if problems:
        left_out = f"; {len(problems)} left out, such as {problems[0].path}: {problems[0].reason}"
    raise InputError(f"no records in {folder}{left_out}")


def _by_name(folder: Path, records: Records) -> dict[str, Run]:
    return {
        Path(r.path).relative_to(folder).as_posix().removesuffix(".json"): r for r in records.every
    }


def _alone(side: str, names: Sequence[str]) -> list[str]:
    return [f"only in {side}: {listed(names)}"] if names else []


def _aside(side: str, problem: Problem) -> str:
    what = "incomplete" if problem.path.endswith(".partial") else "left out"
    return f"{what} in {side}: {clipped(problem.path, 160)}: {clipped(problem.reason, 160)}"
