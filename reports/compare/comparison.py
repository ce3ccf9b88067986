"""`python -m reports compare`: the configs and metrics of two runs, or of two folders of runs, side
by side.

A comparison shows what differs, and which confounds may explain the difference. (`python -m
bench.compare` only checks whether two runs of one bench on one device agree.)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import tyro

from catlip.cli import InputError
from catlip.results.run import one_device
from catlip.system.foreign import printable
from catlip.table import Cell, Table, as_markdown, as_text, clipped, escape_markdown, listed
from reports.compare.confounds import warnings_of
from reports.compare.differences import Place, differing, named, told
from reports.compare.metric_differences import metrics_table
from reports.compare.pairing import Pair, pair_records

PARTS = ("kind", "name", "command", "config", "environment", "metrics", "samples", "notes")
MOST_NOTES = 12
LINE = 120  # characters


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


def compare(config: Compare) -> None:
    """Print the comparison, and write it to `config.out` if that is given."""
    if config.out is not None and config.out.suffix != ".md":
        raise InputError(f"--out {config.out} must end in .md, because it is markdown")
    parts = comparison(config.a, config.b)
    print(printable("\n\n".join(map(_as_text, parts))))
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text("\n\n".join(map(_as_markdown, parts)) + "\n", encoding="utf-8")


def comparison(one: Path, other: Path) -> list[Part]:
    """Compare two records, or two folders of them. Raises: InputError as `pair_records`."""
    pairing = pair_records(one, other)
    groups: dict[str, list[Pair]] = {}
    for pair in pairing.pairs:
        groups.setdefault(re.sub(r"-seed\d+$", "", pair.name), []).append(pair)
    unlike = {name: pairs for name, pairs in groups.items() if not all(map(identical, pairs))}
    equal = len(pairing.pairs) - sum(map(len, unlike.values()))
    sentences = [f"A: {clipped(str(one), 160)}", f"B: {clipped(str(other), 160)}", *pairing.asides]
    if equal:
        sentences.append(
            f"identical in every value: {equal} of {len(pairing.pairs)} "
            f"pair{'s' * (len(pairing.pairs) != 1)}"
        )
    return [
        Part("Comparison of runs", sentences),
        *(_part(name, pairs) for name, pairs in unlike.items()),
    ]


def identical(pair: Pair) -> bool:
    """Whether the two records have the same content, wherever they are stored."""
    one, other = ({part: getattr(r, part) for part in PARTS} for r in (pair.one, pair.other))
    return not differing(one, other)


def _part(name: str, pairs: Sequence[Pair]) -> Part:
    title = clipped(pairs[0].name, 160)
    if len(pairs) > 1:
        title = f"{clipped(name, 160)}, mean of {len(pairs)} seeds"
    config = _config_table(pairs)
    metrics, equal = metrics_table(pairs)
    sentences = [f"measured on {_devices(pairs)}"]
    sentences += [f"warning: {words}" for words in warnings_of(pairs)]
    if not config:
        sentences.append("config: no difference")
    sentences.append(_equal_metrics(equal, metrics is not None))
    sentences += [*_other_samples(pairs), *_other_notes(pairs)]
    return Part(title, sentences, [table for table in (config, metrics) if table])


def _devices(pairs: Sequence[Pair]) -> str:
    """`Device A`; or `Device A (A) and Device B (B)`."""
    ones, others = [pair.one for pair in pairs], [pair.other for pair in pairs]
    if one_device([*ones, *others]):
        return ones[0].where
    first = ", ".join(dict.fromkeys(record.where for record in ones))
    second = ", ".join(dict.fromkeys(record.where for record in others))
    return f"{first} (A) and {second} (B)"


def _config_table(pairs: Sequence[Pair]) -> Table | None:
    """The config fields that differ in any pair, with both values."""
    values: dict[Place, list[tuple[Any, Any]]] = {}
    for pair in pairs:
        for place, both in differing(pair.one.config, pair.other.config).items():
            values.setdefault(place, []).append(both)
    if not values:
        return None
    rows = [
        [Cell(named(place)), *map(Cell, told([a for a, _ in own], [b for _, b in own]))]
        for place, own in values.items()
    ]
    return Table("config", "What differs in the config", ["Field", "A", "B"], rows=rows)


def _equal_metrics(equal: int, some_differ: bool) -> str:
    if not some_differ:
        return f"metrics: no difference in {equal}" if equal else "metrics: none"
    return f"metrics: {equal} {'is' if equal == 1 else 'are'} the same"


def _other_samples(pairs: Sequence[Pair]) -> list[str]:
    """Which lists of raw samples differ."""
    names = dict.fromkeys(
        place[0] for pair in pairs for place in differing(pair.one.samples, pair.other.samples)
    )
    return [f"raw samples that differ: {listed(list(names))}"] if names else []


def _other_notes(pairs: Sequence[Pair]) -> list[str]:
    """The notes that only one side has."""
    ones = dict.fromkeys(n for pair in pairs for n in pair.one.notes if isinstance(n, str))
    others = dict.fromkeys(n for pair in pairs for n in pair.other.notes if isinstance(n, str))
    notes = [("A", note) for note in ones if note not in others]
    notes += [("B", note) for note in others if note not in ones]
    return [f"note only in {side}: {clipped(note, 160)}" for side, note in notes[:MOST_NOTES]]


def _as_text(part: Part) -> str:
    tables = [
        f"\n{table.title}\n{as_text(table)}\n{fill(table.caption, LINE)}".rstrip()
        for table in part.tables
    ]
    return "\n".join([part.title, *(f"  {words}" for words in part.sentences), *tables])


def _as_markdown(part: Part) -> str:
    sentences = "\n".join(f"- {escape_markdown(words)}" for words in part.sentences)
    return "\n\n".join(
        [f"## {escape_markdown(part.title)}", sentences, *map(as_markdown, part.tables)]
    )
