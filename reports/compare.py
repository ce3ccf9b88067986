"""`python -m reports compare`: the configs and metrics of two runs, or of two folders of runs, side
by side, and the confounds: what, other than the question, may make them differ.
"""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from textwrap import fill
from typing import Any

import numpy as np
import tyro

from catlip.cli import InputError
from catlip.results.kind import FEWEST
from catlip.results.run import Run, as_number, one_device, text
from catlip.system.foreign import printable
from catlip.table import (
    MAX_DECIMALS,
    MISSING,
    Cell,
    Table,
    as_markdown,
    as_text,
    clipped,
    decimals_of,
    escape_markdown,
    listed,
    mean_and_spread,
    quantity_of,
    shown,
)
from reports.read.records import read_records

KeyPath = tuple[str, ...]
PARTS = ("kind", "name", "command", "config", "environment", "metrics", "samples", "notes")
# These fields of the environment differ between almost any two runs.
NO_CONFOUND = {"started", "load_start", "load_end", "wall_s", "cpu_s", "other_cpu_s", "energy_j"}
# Config fields that name the data, at any depth, and endings of metrics that differ with the data.
DATA = {"data", "shards", "sources", "labels", "labels_dir", "vocabulary", "probe"}
DATA_SIZES = ("num_train", "num_test", "num_classes", "num_captions", "captions")
MAX_WARNINGS = 6  # of fields that differ in one way
MAX_SAMPLES = 2_000  # all resamples are in memory at once
COLUMNS = ("Metric", "A", "B", "B \N{MINUS SIGN} A", "B / A")
OF_ONE = (
    "In brackets after a value: the interval that its record gives, or its 5th to 95th percentile "
    "and the number of samples. After a difference or a ratio: its 95 % bootstrap interval, where "
    f"both records hold the {FEWEST} or more raw samples behind a median; it covers the variation "
    "within the two runs, not the variation between runs."
)
OF_SEEDS = (
    "Mean ± sample standard deviation over the n pairs of equal name and seed; after the mean "
    "difference and the ratio of the means: the lowest and the highest of a pair."
)
NO_RATIO = "No ratios: the records are from different devices, or a device is not named."


@dataclass(frozen=True)
class Compare:
    """Compare two runs, or two folders of runs: configs, metrics, and what makes the comparison
    unfair.

    python -m reports compare runs/starter/pretrain/catlip-seed0.json \\
        runs/starter/pretrain/clip-seed0.json

    python -m reports compare runs/starter reports/records/starter --out comparison.md

    Records of two folders are paired by their paths inside the folders. Runs that differ only in
    the seed are averaged. A ratio is printed only for numbers above zero from one device.
    """

    a: tyro.conf.Positional[Path]
    """A record; or a folder of records: a root such as runs, or a scale or kind inside one."""
    b: tyro.conf.Positional[Path]
    """Another record of the same kind; or another folder of the same level."""
    out: Path | None = None
    """Also write the comparison as markdown to this file, ending in .md."""


@dataclass(frozen=True)
class Part:
    """The comparison of one pair, or of the pairs of all seeds: sentences, then tables."""

    title: str
    sentences: Sequence[str]
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Pair:
    """Two records of one kind; `name` is the path that both have in their folders."""

    name: str
    a: Run
    b: Run


def compare(config: Compare) -> None:
    """Print the comparison, and write it to `config.out` if that is given."""
    if config.out is not None and config.out.suffix != ".md":
        raise InputError(f"--out {config.out} must end in .md, because it is markdown")
    parts = comparison(config.a, config.b)
    texts, sections = [], []
    for part in parts:
        lines = [part.title, *(f"  {words}" for words in part.sentences)]
        for table in part.tables:
            caption = fill(table.caption, 120)
            lines.append(f"\n{table.title}\n{as_text(table)}\n{caption}".rstrip())
        texts.append("\n".join(lines))
        sentences = "\n".join(f"- {escape_markdown(words)}" for words in part.sentences)
        sections += [f"## {escape_markdown(part.title)}", sentences, *map(as_markdown, part.tables)]
    print(printable("\n\n".join(texts)))
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def comparison(a: Path, b: Path) -> list[Part]:
    """Compare two records, or two folders of them.

    Raises: InputError if one does not exist or is no record, or if the two have nothing in common.
    """
    pairs, asides = _pair_records(a, b)
    different = [
        pair
        for pair in pairs
        if any(
            differing({"": getattr(pair.a, part)}, {"": getattr(pair.b, part)}) for part in PARTS
        )
    ]
    sentences = [f"A: {clipped(str(a), 160)}", f"B: {clipped(str(b), 160)}", *asides]
    if len(different) < len(pairs):
        equal = len(pairs) - len(different)
        sentences.append(f"identical in every value: {equal} of {len(pairs)} pairs")
    by_seeds: dict[str, list[Pair]] = {}
    for pair in different:
        by_seeds.setdefault(re.sub(r"-seed\d+$", "", pair.name), []).append(pair)
    return [
        Part("Comparison of runs", sentences),
        *(_part(name, group) for name, group in by_seeds.items()),
    ]


def _pair_records(a: Path, b: Path) -> tuple[list[Pair], list[str]]:
    """The pairs, and a sentence on everything that has no partner, is incomplete or no record."""
    if a.is_dir() != b.is_dir():
        raise InputError(f"give two files or two folders, not one of each: {a} and {b}")
    first, second = read_records([a]), read_records([b])
    for path, records in ((a, first), (b, second)):
        if not records.every:
            problem = next(iter(records.problems), None)
            reason = f"; {clipped(problem.path, 160)}: {problem.reason}" if problem else ""
            raise InputError(f"no record in {path}{reason}")
    if not a.is_dir():
        one, other = first.every[0], second.every[0]
        if one.kind != other.kind:
            raise InputError(f"{a} is a {clipped(one.kind)}, {b} a {clipped(other.kind)}")
        names = dict.fromkeys((clipped(one.name), clipped(other.name)))
        return [Pair(f"{clipped(one.kind)}: {' and '.join(names)}", one, other)], []
    by_name = [
        {Path(run.path).relative_to(folder).as_posix().removesuffix(".json"): run for run in runs}
        for folder, runs in ((a, first.every), (b, second.every))
    ]
    shared = [
        n for n, run in by_name[0].items() if n in by_name[1] and run.kind == by_name[1][n].kind
    ]
    if not shared:
        raise InputError(f"nothing in common: no record has the same kind and path in {a} and {b}")
    asides = []
    for side, runs, records in (("A", by_name[0], first), ("B", by_name[1], second)):
        if alone := [name for name in runs if name not in shared]:
            asides.append(f"only in {side}: {listed(alone)}")
        for problem in records.problems:
            reason = clipped(problem.reason, 160)
            asides.append(f"left out in {side}: {clipped(problem.path, 160)}: {reason}")
    return [Pair(name, by_name[0][name], by_name[1][name]) for name in shared], asides


def _part(name: str, pairs: Sequence[Pair]) -> Part:
    title = clipped(pairs[0].name, 160)
    if len(pairs) > 1:
        title = f"{clipped(name, 160)}, mean of {len(pairs)} seeds"
    runs = [run for pair in pairs for run in (pair.a, pair.b)]
    devices = [
        ", ".join(dict.fromkeys(run.where for run in side)) for side in (runs[::2], runs[1::2])
    ]
    where = devices[0] if one_device(runs) else f"{devices[0]} (A) and {devices[1]} (B)"
    sentences = [f"measured on {where}"]
    counts = Counter(words for pair in pairs for words in dict.fromkeys(confounds(pair)))
    for words, count in counts.items():
        some = "" if count == len(pairs) else f" ({count} of {len(pairs)} pairs)"
        sentences.append(f"warning: {words}{some}")
    values: dict[KeyPath, list[tuple[str, str]]] = {}
    for pair in pairs:
        for path, both in differing(pair.a.config, pair.b.config).items():
            values.setdefault(path, []).append(both)
    rows = [[_name(path), *_two_cells(both)] for path, both in values.items()]
    tables = []
    if rows:
        columns = ["Field", "A", "B"]
        tables.append(Table("config", "What differs in the config", columns, rows=rows))
    else:
        sentences.append("config: no difference")
    metrics, equal = _metrics_table(pairs, share_ratio=one_device(runs))
    tables += [metrics] if metrics.rows else []
    sentences.append(f"metrics: {equal} are the same")
    lists = {path[0]: None for p in pairs for path in differing(p.a.samples, p.b.samples)}
    if lists:
        sentences.append(f"raw samples that differ: {listed([*lists])}")
    return Part(title, sentences, tables)


def leaves(tree: Any) -> dict[KeyPath, Any]:
    """Every leaf by the keys that lead to it. A list of plain values is one leaf; in another list,
    the positions are keys. Not recursive, so a record may be as deep as JSON allows.
    """
    found: dict[KeyPath, Any] = {}
    ahead: list[tuple[KeyPath, Any]] = [((), tree)]
    while ahead:
        path, value = ahead.pop()
        inside: list[tuple[str, Any]] = []
        if isinstance(value, dict):
            inside = [*value.items()]
        elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
            inside = [(str(i), inner) for i, inner in enumerate(value)]
        ahead += [((*path, key), inner) for key, inner in reversed(inside)]
        if path and not inside:
            found[path] = value
    return found


def differing(a: Any, b: Any) -> dict[KeyPath, tuple[str, str]]:
    """Both values, as JSON, of each leaf that differs; a dash on a side that lacks it. A NaN equals
    a NaN, 1 equals 1.0, and true is not 1.
    """
    first, second = leaves(a), leaves(b)
    different = {}
    for path in sorted(first.keys() | second.keys()):
        sides = [_as_json(side[path]) if path in side else MISSING for side in (first, second)]
        if sides[0] != sides[1] and (
            MISSING in sides or isinstance(first[path], bool) or first[path] != second[path]
        ):
            different[path] = (sides[0], sides[1])
    return different


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _name(path: KeyPath) -> Cell:
    return Cell(clipped(".".join(path), 80))


def _two_cells(values: Sequence[tuple[str, str]]) -> list[Cell]:
    """Each side's value, or how many different ones it has; long texts from where they part."""
    sides = []
    for side in zip(*values, strict=True):
        different = dict.fromkeys(side)
        sides.append(side[0] if len(different) == 1 else f"{len(different)} values")
    if sides[0] != sides[1] and clipped(sides[0]) == clipped(sides[1]):
        start = max(0, len(os.path.commonprefix(sides)) - 12)  # noqa: RUF071
        sides = [f"\N{HORIZONTAL ELLIPSIS}{side[start:]}" for side in sides]
    return [Cell(clipped(side)) for side in sides]


def _metrics_table(pairs: Sequence[Pair], share_ratio: bool) -> tuple[Table, int]:
    """A table of the metrics that differ in any pair, and how many are equal in every pair."""
    metrics = [(numbers(pair.a), numbers(pair.b)) for pair in pairs]
    paths = {path for both in metrics for side in both for path in side}
    rows = []
    for path in sorted(paths):
        values = [(a.get(path), b.get(path)) for a, b in metrics]
        if any(a != b and not (a != a and b != b) for a, b in values):  # a NaN equals a NaN
            rows.append([_name(path), *_metric_cells(pairs, path, values, share_ratio=share_ratio)])
    caption = OF_SEEDS if len(pairs) > 1 else OF_ONE
    caption += "" if share_ratio else f" {NO_RATIO}"
    table = Table("metrics", "What differs in the metrics", COLUMNS, rows=rows, caption=caption)
    return table, len(paths) - len(rows)


def numbers(run: Run) -> dict[KeyPath, Any]:
    """The metrics of a run by path: a median or a ratio stands for its summary or interval, and a
    seed stays text, because it is a name.
    """
    flat = leaves(run.metrics)
    values: dict[KeyPath, Any] = {}
    for path, value in flat.items():
        *above, last = path
        if (*above, "median") in flat or {(*above, "low"), (*above, "value")} <= flat.keys():
            if last in ("median", "value"):
                values[tuple(above)] = as_number(value)
            continue
        number = None if last.endswith("seed") else as_number(value)
        values[path] = _as_json(value) if number is None else number
    return values


def _metric_cells(
    pairs: Sequence[Pair], path: KeyPath, values: Sequence[tuple[Any, Any]], share_ratio: bool
) -> list[Cell]:
    both = [(a, b) for a, b in values if isinstance(a, float) and isinstance(b, float)]
    if not both:
        words = [
            [MISSING if v is None else shown(v) if isinstance(v, float) else v for v in pair]
            for pair in values
        ]
        return _two_cells([(a, b) for a, b in words])
    differences = [b - a for a, b in both]
    mean = fmean(differences) if all(map(math.isfinite, differences)) else math.nan
    decimals = 0
    if not all(value.is_integer() for pair in both for value in pair):
        wanted = min(MAX_DECIMALS, decimals_of(mean) - 1)
        decimals = max(0, *(decimals_of(value) for pair in both for value in pair), wanted)
    if len(pairs) > 1:
        sides = [quantity_of(side) for side in zip(*both, strict=True)]
        cells = [Cell(mean_and_spread(side, decimals), f"n = {side.n}") for side in sides if side]
        of_difference = _ends([min(differences), max(differences)], signed=True)
        ratios = [b / a if a else math.nan for a, b in both]
        of_ratio = _ends([min(ratios), max(ratios)])
    else:
        (a, b), (pair,) = both[0], pairs
        cells = [
            Cell(shown(value, decimals), _spread(run, path, decimals))
            for value, run in ((a, pair.a), (b, pair.b))
        ]
        of_difference, of_ratio = _bootstrap(pair, path, a=a, b=b)
    cells.append(Cell(_signed(mean), of_difference))
    above_zero = all(
        a > 0 and b > 0 and math.isfinite(b / a) and math.isfinite(a / b) for a, b in both
    )
    if share_ratio and above_zero:
        ratio = fmean(b for _, b in both) / fmean(a for a, _ in both)
        return [*cells, Cell(shown(ratio), of_ratio or "no interval")]
    return [*cells, Cell()]


def _spread(run: Run, path: KeyPath, decimals: int) -> str:
    """`9.8 to 10.4, n = 60`, as the record gives it for a median or a ratio."""
    summary = run.metrics
    for key in path:
        summary = summary[int(key)] if isinstance(summary, list) else summary[key]
    if not isinstance(summary, dict):
        return ""
    low = as_number(summary.get("p5", summary.get("low")))
    high = as_number(summary.get("p95", summary.get("high")))
    known = low is not None and high is not None
    words = [f"{shown(low, decimals)} to {shown(high, decimals)}"] if known else []
    return ", ".join([*words, *([f"n = {summary['n']}"] if "n" in summary else [])])


def _bootstrap(pair: Pair, path: KeyPath, a: float, b: float) -> tuple[str, str]:
    """The percentile intervals of B - A and of B / A, if both records hold the samples behind the
    medians `a` and `b`. Each list is resampled on its own, because the runs did not take turns.
    """
    for name in pair.a.samples:
        lists = [pair.a.series(name), pair.b.series(name)]
        are_behind = all(
            FEWEST <= len(s) <= MAX_SAMPLES
            and all(map(math.isfinite, s))
            and math.isclose(median(s), of)
            for s, of in zip(lists, (a, b), strict=True)
        )
        if are_behind and path[-1] in name:
            draw = np.random.default_rng(0)
            first, second = (
                np.median(draw.choice(np.asarray(s), (2_000, len(s))), axis=1) for s in lists
            )
            difference = _ends(np.percentile(second - first, [2.5, 97.5]), signed=True)
            positive = min(map(min, lists)) > 0
            return difference, _ends(np.percentile(second / first, [2.5, 97.5])) if positive else ""
    return "", ""


def _ends(ends: Iterable[float], signed: bool = False) -> str:
    ends = list(map(float, ends))
    return " to ".join(map(_signed if signed else shown, ends)) if np.isfinite(ends).all() else ""


def _signed(value: float) -> str:
    sign = "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else ""
    return sign + shown(abs(value), 0 if value.is_integer() else None)


def confounds(pair: Pair) -> list[str]:
    """What, other than the question, may make the two records differ; values of A come first."""
    a, b = pair.a, pair.b
    warnings = []
    if not one_device([a, b]):
        named = [text(run.environment, "device") for run in (a, b)]
        names = (a.where, b.where) if a.where != b.where else (a.device, b.device)
        for side, name in zip("AB", named, strict=True):
            warnings += [] if name else [f"{side} does not name its device"]
        if all(named):
            warnings.append(f"different devices: {clipped(names[0])} and {clipped(names[1])}")
    revisions = [text(run.environment, "revision") for run in (a, b)]
    if revisions[0] != revisions[1]:
        warnings.append(f"different git revisions: {' and '.join(map(clipped, revisions))}")
    for side, run, revision in zip("AB", (a, b), revisions, strict=True):
        if run.environment.get("dirty") is True:
            warnings.append(f"{side} ran with local changes that are not in its git revision")
        if revision in ("", "unknown"):
            warnings.append(f"{side} does not name its git revision")
    apart = NO_CONFOUND | {"device", "revision", "dirty"}
    for path, values in differing(a.environment, b.environment).items():
        if path[0] not in apart:
            name = ".".join(path).removeprefix("packages.")
            warnings.append(f"different {clipped(name, 80)}: {' and '.join(map(clipped, values))}")
    methods = [text(run.metrics, "method") or text(run.config, "method") for run in (a, b)]
    if methods[0] != methods[1]:
        warnings.append("different methods: their losses are not comparable")
    if a.seed != b.seed:
        warnings.append(f"different seeds: {a.seed} and {b.seed}")
    config, metrics = differing(a.config, b.config), differing(a.metrics, b.metrics)
    # A field that only one side has is no confound: a method may not need it.
    data = {path: values for path, values in config.items() if DATA & {*path}}
    data |= {path: values for path, values in metrics.items() if path[-1].endswith(DATA_SIZES)}
    groups = {
        "data": {path: values for path, values in data.items() if MISSING not in values},
        "precision": {path: values for path, values in config.items() if path[-1] == "precision"},
        "number of images seen": {p: v for p, v in metrics.items() if p[-1] == "images_seen"},
    }
    for what, fields in groups.items():
        for path, values in list(fields.items())[:MAX_WARNINGS]:
            cells = " and ".join(cell.text for cell in _two_cells([values]))
            warnings.append(f"different {what} ({clipped('.'.join(path), 80)}): {cells}")
    return warnings
