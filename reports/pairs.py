"""Pairs of two methods: the same experiment with the same seed. Every difference and every ratio of
the page is that of pairs, computed here, with one kind of interval.

    python -m reports pairs runs/starter --methods catlip clip_bag -o pairs.csv
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, TypeVar

import tyro

from bench.downstream.dense.result import SLIDING, TASKS
from bench.downstream.probe.result import TASK_PART_SEPARATOR, score_of
from catlip.cli import InputError
from catlip.records.claims import min_pairs
from catlip.records.estimate import (
    Estimate,
    Score,
    geometric_mean_ratio,
    mean_difference,
    mean_of,
    value_of,
)
from catlip.records.run import Records, Run
from catlip.records.styles import name_of
from catlip.records.table import Cell, Table, clipped, print_tables, signed
from reports.read.records import read_records
from reports.results import frame_of, score_of_row

if TYPE_CHECKING:  # pandas takes a while to import
    import pandas as pd

Key = TypeVar("Key", bound=Hashable)
DENSE = {task.kind: task.measures for task in TASKS}
MEASURES = {  # metric of an accuracy -> its name; the usual one has none
    "top1": "",
    "knn_top1": "nearest neighbours",
    "zero_shot_top1": "zero-shot",
    **{
        metric: name
        for measures in DENSE.values()
        for name, metric in measures.items()
        if name != SLIDING
    },
}
LONGER = 1.1  # times as many images as in another training: a longer one
# Kinds of records with accuracies of encoders.
KINDS = ("linear_probe", "finetune", "readout", "scaling", "robustness", *DENSE)


@dataclass(frozen=True)
class Pairs(Generic[Key]):
    """What both sides have, such as seeds, with the value of each side."""

    keys: Sequence[Key]
    one: Sequence[Score | float]
    other: Sequence[Score | float]

    def __bool__(self) -> bool:
        return bool(self.keys)

    @property
    def points(self) -> list[Score | float]:
        """`one` - `other` of each pair."""
        return [a - b for a, b in zip(self.one, self.other, strict=True)]

    @property
    def values(self) -> list[float]:
        """The points as numbers."""
        return [*map(value_of, self.points)]

    @property
    def means(self) -> tuple[float, float]:
        """Of `one` and of `other`."""
        return fmean(map(value_of, self.one)), fmean(map(value_of, self.other))

    def difference(self) -> Estimate | None:
        """The mean of `one` - `other`: its interval is over the pairs and, if all have the same
        test images, over these too. None without pairs, or if a value is not finite.
        """
        return mean_difference(self.points)

    def ratio(self) -> Estimate | None:
        """The geometric mean of `other` / `one`; None too if a value is not above 0."""
        sides = zip(map(value_of, self.one), map(value_of, self.other), strict=True)
        return geometric_mean_ratio([b / a if a else 0.0 for a, b in sides])


def pair_up(one: Mapping[Key, Score | float], other: Mapping[Key, Score | float]) -> Pairs[Key]:
    """Pairs of the values that have the same key, in the order of `one`."""
    keys = [key for key in one if key in other]
    return Pairs(keys, [one[key] for key in keys], [other[key] for key in keys])


class Experiment(NamedTuple):
    """What both methods share: the `images` that a training saw to three digits, 0 if unknown or of
    several lengths; `fraction` is that of the data of a study, else that of labels.
    """

    kind: str
    metric: str
    encoder: str
    images: float
    fraction: float
    condition: str
    task: str


def accuracies(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The accuracies in a table of results that can be paired: without those of classifiers with a
    start that only one of the methods has.
    """
    rows = frame[
        frame.kind.isin(KINDS)
        & frame.metric.isin(MEASURES)
        & frame.seed.notna()
        & ~frame.init.isin(["transfer", "names"])
    ]
    # Only these columns: a loop over rows takes as long as there are columns.
    rows = rows[[*Experiment._fields, "method", "seed", "settings", "record", "value", "correct"]]
    rows = rows.fillna({"encoder": "", "images": 0, "fraction": 1, "condition": "", "task": ""})
    return rows.assign(images=rows.images.map(lambda images: float(f"{images:.3g}")))


def experiments(rows: "pd.DataFrame") -> "dict[Experiment, dict[str, pd.DataFrame]]":
    """Experiment -> method -> its accuracies by one recipe: of those that it has, the one with the
    most seeds of all methods.
    """
    cells: dict[Experiment, dict[str, pd.DataFrame]] = {}
    for same, cell in rows.groupby([*Experiment._fields], sort=False):
        trained = cell.drop_duplicates(["method", "seed", "settings"])
        ranked = [recipe for recipe, _ in Counter(trained.settings).most_common()]
        for method, own in cell.groupby("method", sort=False):
            recipe = min(own.settings, key=ranked.index)
            cells.setdefault(Experiment(*same), {})[method] = own[own.settings == recipe]
    return cells


def share_recipe(same: Experiment, *sides: "pd.DataFrame") -> bool:
    """Whether the encoders were probed, or fine-tuned, alike. In a study each method is trained by
    its own recipe.
    """
    in_study = same.kind in ("scaling", "robustness")
    return in_study or len({recipe for side in sides for recipe in side.settings}) == 1


def scores_of(rows: "pd.DataFrame", runs: Mapping[str, Run[Any]]) -> dict[float, Score]:
    """Seed -> mean accuracy in %; `runs` by path."""
    return {
        seed: mean_of([_score(runs[row.record], row) for row in seed_rows.itertuples()])
        for seed, seed_rows in rows.groupby("seed")
    }


def _score(run: Run[Any], row: Any) -> Score:
    if TASK_PART_SEPARATOR in row.task:
        return score_of(run, row.task)
    return 100 * score_of_row(row, run)


@dataclass(frozen=True)
class WritePairs:
    """Pair two methods' accuracies by seed in every experiment that both took part in: print the
    differences with their intervals, and write a row for each pair.

    python -m reports pairs runs/starter --methods catlip clip_bag
    python -m reports pairs runs reports/records --methods superclass clip -o pairs.csv
    """

    records: tyro.conf.Positional[tuple[Path, ...]]
    """Folders with records at any depth, or single records."""
    methods: tuple[str, str] = ("catlip", "clip")
    """The two methods; differences are of the first minus the second."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=("-o",))] = None
    """A .csv to write the pairs to."""


def compared(
    folders: Sequence[Path], one: str, other: str
) -> Iterator[tuple[str, str, Experiment, Pairs[float], Estimate, bool]]:
    """(root, scale, experiment, pairs by seed, difference of the first minus the second in points,
    whether by one recipe) of each experiment that both methods took part in.
    """
    settings: dict[tuple[str, str], dict[str, Run[Any]]] = {}
    for run in read_records(folders).every:
        settings.setdefault((run.root, run.scale), {})[run.path] = run
    for (root, scale), runs in settings.items():
        frame = frame_of(Records((), tuple(runs.values()), ()))
        for same, methods in experiments(accuracies(frame)).items():
            if {one, other} <= methods.keys():
                pairs = pair_up(*(scores_of(methods[method], runs) for method in (one, other)))
                if estimate := pairs.difference():
                    alike = share_recipe(same, methods[one], methods[other])
                    yield root, scale, same, pairs, estimate, alike


def differences_frame(folders: Sequence[Path], one: str, other: str) -> "pd.DataFrame":
    """A row for each experiment of `compared`: what both share, the difference in points, its 95 %
    interval (`low`, `high`; missing below six seeds), the number of seeds, and whether both were
    probed, or fine-tuned, by one recipe.
    """
    import pandas as pd

    return pd.DataFrame(
        {"scale": scale, **same._asdict()}
        | {"difference": estimate.value, "low": estimate.low, "high": estimate.high}
        | {"seeds": estimate.pairs, "one_recipe": alike}
        for _, scale, same, _, estimate, alike in compared(folders, one, other)
    )


def write_pairs(config: WritePairs) -> None:
    """Print the differences, and write the pairs."""
    one, other = config.methods
    rows, lines = [], []
    for root, scale, same, pairs, estimate, alike in compared(config.records, one, other):
        where = {"root": root, "scale": scale, **same._asdict()}
        for seed, a, b in zip(pairs.keys, pairs.one, pairs.other, strict=True):
            values = {one: value_of(a), other: value_of(b)}
            rows.append({**where, "seed": seed, **values, "difference": value_of(a - b)})
        lines.append(_line(f"{root}/{scale}", same, estimate, alike))
    if not rows:
        raise InputError(f"no experiment of these records has {one} and {other} with the same seed")
    title = f"{name_of(one)} minus {name_of(other)}, in points"
    columns = ["Records", "Experiment", "Task", "Difference", "95 %", "Over"]
    print_tables([Table("pairs", title, columns, lines)])
    if config.out:
        import pandas as pd

        pd.DataFrame(rows).to_csv(config.out, index=False)
        print(f"{len(rows):,} pairs: {config.out}")


def _line(where: str, same: Experiment, estimate: Estimate, alike: bool) -> list[Cell]:
    what = [same.kind, same.encoder, f"{same.images:,.0f} images" if same.images else ""]
    what += [same.condition, f"{100 * same.fraction:g} %" if same.fraction < 1 else ""]
    what += [] if alike else ["another recipe"]
    over = f"{estimate.pairs} seeds"
    over += f", {estimate.images:,} images" if estimate.images else ""
    over += f" in {estimate.clusters:,} groups" if estimate.clusters else ""
    ends = f"no interval below {min_pairs()} pairs"
    if estimate.low is not None and estimate.high is not None:
        ends = f"{signed(estimate.low, 1)} to {signed(estimate.high, 1)}"
    words = [where, ", ".join(filter(None, what)), same.task or same.metric]
    return [Cell(clipped(word, 60)) for word in (*words, signed(estimate.value, 1), ends, over)]
