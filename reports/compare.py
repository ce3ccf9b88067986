"""`python -m reports compare`: the settings and numbers of two runs, or of two folders of runs,
side by side, and the confounds: whatever else may make them differ.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import tyro

from catlip.cli import InputError
from catlip.records.estimate import Estimate
from catlip.records.run import Records, Run, as_number, device_of, low_to_high
from catlip.records.select import saw_as_many_images
from catlip.records.table import (
    MISSING,
    Cell,
    Table,
    as_text,
    clipped,
    decimals_of,
    format_number,
    listed,
    mean_and_spread,
    quantity_of,
    signed,
)
from catlip.system.foreign import printable
from reports.pairs import Pairs
from reports.read.records import read_records
from reports.results import numbers

# Fields of the environment that differ between almost any two runs.
IGNORED = {"started", "load_start", "load_end", "wall_s", "cpu_s", "other_cpu_s"}
CONFOUNDS = {
    *("data", "shards", "sources", "labels", "labels_dir", "vocabulary", "probe"),
    *("method", "precision", "seed", "label_captions"),
}
# Columns of the frame that distinguish the numbers of one record.
NAME_COLUMNS = ("method", "task", "init", "fraction", "probe_seed", "threshold", "seed", "batch")
CAPTION = (
    "Mean ± sample standard deviation over the n pairs of equal name and seed; after the mean "
    "difference and the mean ratio: the 95 % interval over the pairs, from six pairs on."
)
NO_RATIO = " No ratios: the records are from different devices, or a device is not named."


@dataclass(frozen=True)
class Compare:
    """Compare two runs, or two folders of runs: settings, numbers, and what makes the comparison
    unfair.

    python -m reports compare runs/starter/pretrain/catlip-seed0.json \\
        runs/starter/pretrain/clip-seed0.json

    python -m reports compare runs/starter reports/records/starter

    Records of two folders are paired by their paths inside the folders. Runs that differ only in
    the seed are averaged. A ratio is printed only for numbers above zero from one device.
    """

    a: tyro.conf.Positional[Path]
    """A record; or a folder of records: a root such as runs, or a scale or kind inside one."""
    b: tyro.conf.Positional[Path]
    """Another record of the same kind; or another folder of the same level."""


@dataclass(frozen=True)
class Part:
    """The comparison of one pair, or of the pairs of all seeds: sentences, then tables."""

    title: str
    sentences: Sequence[str]
    tables: Sequence[Table] = ()


def compare(config: Compare) -> None:
    texts = []
    for part in comparison(config.a, config.b):
        lines = [part.title, *(f"  {words}" for words in part.sentences)]
        for table in part.tables:
            caption = fill(table.caption, 120)
            lines.append(f"\n{table.title}\n{as_text(table)}\n{caption}".rstrip())
        texts.append("\n".join(lines))
    print(printable("\n\n".join(texts)))


def comparison(a: Path, b: Path) -> list[Part]:
    """Compare two records, or two folders of them.

    Raises: InputError if one does not exist or is no record, or if the two have nothing in common.
    """
    if a.is_dir() != b.is_dir():
        raise InputError(f"give two files or two folders, not one of each: {a} and {b}")
    sides = [_records(path) for path in (a, b)]
    if a.is_dir():
        one, other = (
            {Path(r.path).relative_to(folder).as_posix().removesuffix(".json"): r for r in runs}
            for folder, runs in ((a, sides[0].every), (b, sides[1].every))
        )
    else:
        one, other = ({records.every[0].kind: records.every[0]} for records in sides)
    shared = [name for name in one if name in other and one[name].kind == other[name].kind]
    if not shared:
        raise InputError(f"nothing in common: no record has the same kind and path in {a} and {b}")
    sentences = [f"A: {clipped(str(a), 160)}", f"B: {clipped(str(b), 160)}"]
    for side, runs, records in (("A", one, sides[0]), ("B", other, sides[1])):
        if alone := [name for name in runs if name not in shared]:
            sentences.append(f"only in {side}: {listed(alone)}")
        sentences += [
            f"left out in {side}: {clipped(problem.path, 160)}: {clipped(problem.reason, 160)}"
            for problem in records.problems
        ]
    by_seeds: dict[str, list[tuple[Run, Run]]] = {}
    for name in shared:
        if Path(one[name].path).read_bytes() != Path(other[name].path).read_bytes():
            pairs = by_seeds.setdefault(re.sub(r"-seed\d+$", "", name), [])
            pairs.append((one[name], other[name]))
    if equal := len(shared) - sum(map(len, by_seeds.values())):
        sentences.append(f"identical: {equal} of {len(shared)} pairs")
    parts = [_part(clipped(name, 160), pairs) for name, pairs in by_seeds.items()]
    return [Part("Comparison of runs", sentences), *parts]


def _records(path: Path) -> Records:
    records = read_records([path])
    if not records.every:
        reasons = [f"; {clipped(p.path, 160)}: {p.reason}" for p in records.problems[:1]]
        raise InputError(f"no record in {path}{''.join(reasons)}")
    return records


def _part(name: str, pairs: Sequence[tuple[Run, Run]]) -> Part:
    sides = list(zip(*pairs, strict=True))
    title = f"{name}, mean of {len(pairs)} seeds" if len(pairs) > 1 else name
    names = {device_of(run) for pair in pairs for run in pair}
    is_one_device = len(names) == 1 and "" not in names
    devices = [", ".join(dict.fromkeys(run.where for run in side)) for side in sides]
    where = devices[0] if is_one_device else f"{devices[0]} (A) and {devices[1]} (B)"
    sentences = [f"measured on {where}"]
    for letter, side in zip("AB", sides, strict=True):
        if any(run.environment.dirty for run in side):
            sentences.append(f"warning: {letter} ran with local changes to its git revision")
    images = [
        [as_number(run.raw_metrics.get("images_seen")) or 0 for run in pair] for pair in pairs
    ]
    if not all(saw_as_many_images(one, other) for one, other in images):
        sentences.append("warning: they saw different numbers of images")
    confounds, settings = _fields(pairs)
    rows = [[Cell("Confounds")], *confounds] if confounds else []
    rows += [[Cell("Other settings")], *settings] if settings else []
    metrics, equal = _metrics(sides, share_ratio=is_one_device)
    sentences.append(f"metrics: {equal} are the same")
    caption = CAPTION + ("" if is_one_device else NO_RATIO)
    columns = ["Metric", "A", "B", "B \N{MINUS SIGN} A", "B / A"]
    tables = [
        Table("settings", "What differs besides the metrics", ["Field", "A", "B"], rows=rows),
        Table("metrics", "What differs in the metrics", columns, rows=metrics, caption=caption),
    ]
    return Part(title, sentences, [table for table in tables if table.rows])


def _fields(pairs: Sequence[tuple[Run, Run]]) -> tuple[list[list[Cell]], list[list[Cell]]]:
    """The fields of the environment and the config that differ in a pair: those that make the
    comparison unfair, and the others. Several values of a side are counted.
    """
    values: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for pair in pairs:
        one, other = ({**leaves(run.raw_environment), **leaves(run.raw_config)} for run in pair)
        for path in dict.fromkeys([*one, *other]):
            both = (one.get(path, MISSING), other.get(path, MISSING))
            if both[0] != both[1] and path[0] not in IGNORED:
                values.setdefault(path, []).append(both)
    confounds: list[list[Cell]] = []
    settings: list[list[Cell]] = []
    environment_fields = {
        path for pair in pairs for run in pair for path in leaves(run.raw_environment)
    }
    for path, differing in values.items():
        cells = [Cell(clipped(".".join(path), 80))]
        for side in zip(*differing, strict=True):
            different = [*dict.fromkeys(side)]
            text = different[0] if len(different) == 1 else f"{len(different)} values"
            cells.append(Cell(clipped(text, 80)))
        is_confound = path in environment_fields or CONFOUNDS & {*path}
        (confounds if is_confound else settings).append(cells)
    return confounds, settings


def leaves(tree: Mapping[str, Any], *above: str) -> dict[tuple[str, ...], str]:
    """Path of keys -> the value there, as JSON."""
    values: dict[tuple[str, ...], str] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            values |= leaves(value, *above, key)
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            values[(*above, key)] = text
    return values


def _metrics(sides: Sequence[Sequence[Run]], share_ratio: bool) -> tuple[list[list[Cell]], int]:
    """A row for each number that differs in a pair, and how many numbers are equal in all."""
    one, other = ([dict(_named_numbers(run)) for run in side] for side in sides)
    rows, equal = [], 0
    for name in dict.fromkeys(name for values in (*one, *other) for name in values):
        both = [(a.get(name), b.get(name)) for a, b in zip(one, other, strict=True)]
        pairs = [(a, b) for a, b in both if a is not None and b is not None]
        if pairs and all(a == b or (a != a and b != b) for a, b in pairs):  # a NaN equals a NaN
            equal += 1
            continue
        is_count = len(pairs) == 1 and all(v.is_integer() for v in pairs[0])
        whole = 0 if is_count else None
        means = [quantity_of([v[name] for v in side if name in v]) for side in (one, other)]
        cells = [Cell(clipped(name, 120))]
        cells += [
            Cell(mean_and_spread(mean, whole), f"n = {mean.n}" if mean.n > 1 else "")
            if mean
            else Cell()
            for mean in means
        ]
        before, after = ([pair[side] for pair in pairs] for side in (0, 1))
        difference = Pairs(range(len(pairs)), after, before).difference()
        positive = share_ratio and all(value > 0 for value in (*before, *after))
        ratio = Pairs(range(len(pairs)), before, after).ratio() if positive else None
        rows.append([*cells, _estimated(difference, whole, with_sign=True), _estimated(ratio)])
    return rows, equal


def _named_numbers(run: Run) -> Iterator[tuple[str, float]]:
    """The numbers of a run, each named by its metric and the columns of the frame that it has."""
    for row in numbers(run):
        if row["metric"].endswith("seed"):
            continue
        keys = [f"{key} {row[key]}" for key in NAME_COLUMNS if row.get(key) is not None]
        yield f"{row['metric']} ({', '.join(keys)})" if keys else row["metric"], row["value"]


def _estimated(
    estimate: Estimate | None, decimals: int | None = None, with_sign: bool = False
) -> Cell:
    if estimate is None:
        return Cell()
    decimals = decimals_of(estimate.value) if decimals is None else decimals
    text = (signed if with_sign else format_number)(estimate.value, decimals)
    return Cell(text, low_to_high(estimate.low, estimate.high, decimals))
