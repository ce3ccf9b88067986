"""Pairs of two methods: the same experiment with the same seed. Every difference of the page is one
of these, with one kind of interval and one verdict; which CLIP CatLIP is compared with is decided
here too.

    python -m reports pairs runs/starter --methods catlip clip_bag -o pairs.csv
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import tyro

from bench.downstream.dense.result import SLIDING, TASKS
from bench.downstream.probe.result import (
    ORIGINS,
    LabelOrigin,
    LinearProbe,
    with_per_image_hits,
)
from bench.study.result import Finalist, Trial, group_by_trial, mean_score, tuned_alike
from catlip.cli import InputError
from catlip.pretraining.result import Pretrain
from catlip.records.claims import claims
from catlip.records.estimate import (
    Estimate,
    Score,
    beats,
    mean_difference,
    mean_of,
    value_of,
    verdict,
)
from catlip.records.kind import Kind
from catlip.records.run import Records, Run
from catlip.records.styles import CATLIP, CLIPS, name_of
from catlip.records.table import NOTE, RECORDS, Column, Spec, clipped, print_tables
from reports.frame import frame_of, write_csv
from reports.names import data_of, rank_of, task_name
from reports.reading import print_problems, read_records

if TYPE_CHECKING:  # pandas takes a while to import
    import pandas as pd

RANDOM = "random"  # an untrained encoder; and a classifier's start
TRANSFER, NAMES = "transfer", "names"  # starts: CatLIP's rows, CLIP's embeddings of the names
FEW, NOT_ABOVE = "too few seeds", "not above an untrained encoder"
MEASURES = {  # metric of an accuracy -> its name; the usual one has none
    "top1": "",
    "knn_top1": "nearest neighbours",
    "zero_shot_top1": "zero-shot",
    **{m: name for task in TASKS for name, m in task.measures.items() if name != SLIDING},
}
STUDIES = ("scaling",)  # kinds whose `fraction` is that of the data, not of labels
KINDS = ("linear_probe", "finetune", "readout", *STUDIES, *(task.kind for task in TASKS))
K = TypeVar("K", bound=Kind)
LONGER = 1.1  # times as many images as in another training: a longer one


class Experiment(NamedTuple):
    """What both sides share; `images` that a training saw have three digits, 0 if unknown, and
    `fraction` is that of the data in a study, else that of labels.
    """

    root: str
    scale: str
    kind: str
    metric: str
    encoder: str
    images: float
    fraction: float
    task: str


class Side(NamedTuple):
    """A method, and how its classifiers start."""

    method: str
    start: str = RANDOM


@dataclass(frozen=True)
class Difference:
    """The first side minus the second, in points.

    Attributes:
        epochs: that a training has, if known.
        points: seed -> difference of its pair.
        means: of both sides, in %.
        untrained: the accuracy of an untrained encoder on the task, in %.
        is_learnt: whether one of both is above an untrained encoder, by the interval over seeds.
        one_recipe: whether both were probed, or fine-tuned, alike.
    """

    on: Experiment
    first: Side
    second: Side
    epochs: float | None
    points: Mapping[int, float]
    means: tuple[float, float]
    estimate: Estimate
    untrained: float | None = None
    is_learnt: bool = True
    one_recipe: bool = True
    records: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str]:
        """Root and scale."""
        return self.on.root, self.on.scale

    @property
    def has_interval(self) -> bool:
        return self.estimate.low is not None

    @property
    def verdict(self) -> str:
        if not self.has_interval:
            return FEW
        if not self.is_learnt:
            return NOT_ABOVE
        return verdict(self.estimate, claims()["probe_parity"].bound)

    @property
    def covers(self) -> str:
        """What the interval is over."""
        if not self.has_interval:
            return f"{len(self.points)} seeds, no interval"
        images = self.estimate.images
        return f"{len(self.points)} seeds" + (f", {images:,} images" if images else "")


class Comparisons:
    """All accuracies of some records, and their differences."""

    def __init__(self, records: Records):
        # What is first in files' order would else decide, where several could be shown.
        self.records = replace(records, every=tuple(sorted(records.every, key=_content)))
        self.frame = frame_of(self.records)
        self.runs = {run.path: run for run in records.every}
        places = {(run.root, run.scale) for run in records.every}
        self.settings = sorted(places, key=lambda place: rank_of(*place))
        self._scores: dict[tuple[Experiment, Side], dict[float, Score]] = {}

    def of(self, root: str, scale: str, kind: type[K]) -> list[Run[K]]:
        """The records of a kind, of one data set."""
        found = self.records.of(kind)
        return [run for run in found if (run.root, run.scale) == (root, scale)]

    @cached_property
    def cells(self) -> "dict[Experiment, dict[Side, pd.DataFrame]]":
        """Experiment -> side -> its accuracies by one recipe: of those that it has, the one with
        the most seeds of all methods.
        """
        rows = self.frame[
            self.frame.kind.isin(KINDS) & self.frame.metric.isin(MEASURES) & self.frame.seed.notna()
        ]
        columns = [*Experiment._fields, "method", "init", "seed", "epochs", "flops", "settings"]
        rows = rows[
            [*columns, "record", "value", "correct"]
        ]  # a loop takes as long as there are columns
        words = {"encoder": "", "task": "", "init": RANDOM}
        rows = rows.astype(dict.fromkeys(words, object))  # a column without words is of numbers
        rows = rows.fillna({**words, "images": 0, "fraction": 1})
        lengths = rows.groupby(["root", "scale"]).images
        rows = rows.assign(images=lengths.transform(lambda images: images.map(_alike(images))))
        cells: dict[Experiment, dict[Side, pd.DataFrame]] = {}
        for key, cell in rows.groupby([*Experiment._fields], sort=False):
            trained = cell.drop_duplicates(["method", "seed", "settings"])
            ranked = [recipe for recipe, _ in Counter(trained.settings).most_common()]
            for (method, start), side in cell.groupby(["method", "init"], sort=False):
                recipe = min(side.settings, key=ranked.index)
                same = side[side.settings == recipe]
                cells.setdefault(Experiment(*key), {})[Side(method, start)] = same
        return cells

    def scores(self, on: Experiment, side: Side) -> dict[float, Score]:
        """Seed -> mean accuracy in %."""
        rows = self.cells.get(on, {}).get(side)
        if rows is None:
            return {}
        if (on, side) not in self._scores:
            self._scores[on, side] = {
                seed: mean_of([self.score(row) for row in of_seed.itertuples()])
                for seed, of_seed in rows.groupby("seed")
            }
        return self._scores[on, side]

    def score(self, row: Any) -> Score:
        """The accuracy in % of a row of the table, with its test images."""
        texts = row.correct.split() if isinstance(row.correct, str) else []
        return 100 * with_per_image_hits(self.runs[row.record], row.task, row.value, texts)

    def difference(self, on: Experiment, first: Side, second: Side) -> Difference | None:
        """None without a seed that both have."""
        sides = [self.scores(on, side) for side in (first, second)]
        seeds = sorted(sides[0].keys() & sides[1].keys())
        if not seeds:
            return None
        pairs = [sides[0][seed] - sides[1][seed] for seed in seeds]
        points = {int(seed): value_of(pair) for seed, pair in zip(seeds, pairs, strict=True)}
        rows = [self.cells[on][side] for side in (first, second)]
        floor = [*self.untrained(on).values()]
        values = [[value_of(scores[seed]) for seed in seeds] for scores in sides]
        epochs = rows[0].epochs.dropna()
        return Difference(
            on,
            first,
            second,
            epochs=float(epochs.iloc[0]) if len(epochs) else None,
            points=points,
            means=(fmean(values[0]), fmean(values[1])),
            estimate=mean_difference(pairs) or Estimate(fmean(points.values()), pairs=len(seeds)),
            untrained=fmean(floor) if floor else None,
            is_learnt=any(beats(of_side, floor) for of_side in values),
            one_recipe=on.kind in STUDIES
            or len({recipe for side in rows for recipe in side.settings}) == 1,
            records=tuple(dict.fromkeys(path for side in rows for path in side.record)),
        )

    def untrained(self, on: Experiment) -> dict[float, float]:
        """Seed -> accuracy of an untrained encoder of the same kind on the task, in %."""
        kind = "linear_probe" if on.kind in STUDIES else on.kind
        fraction = 1 if on.kind in STUDIES else on.fraction
        same = on._replace(kind=kind, fraction=fraction, images=0)
        return {
            seed: value_of(score)
            for cell, sides in self.cells.items()
            if cell._replace(images=0) == same and Side(RANDOM) in sides
            for seed, score in self.scores(cell, Side(RANDOM)).items()
        }

    def opponent(self, root: str, scale: str, among: Iterable[str]) -> str:
        """The CLIP among these methods that CatLIP is compared with: the one whose text tower is
        best on validation, by finalists where each tower has some, else by trials. If not all
        towers were tuned, it is the bag of words, which is the better one wherever all were.
        """
        methods = {*among}
        found = [clip for clip in CLIPS if clip in methods]
        if len(found) < 2:
            return found[0] if found else ""
        for kind in (Finalist, Trial):
            tuned = tuned_alike(run for run in self.of(root, scale, kind) if run.method in found)
            best = best_scores(next(iter(tuned.values()), []))
            if best.keys() >= {*found}:
                return max(found, key=lambda clip: best[clip])
        return found[0]

    @cached_property
    def over_clip(self) -> dict[Experiment, Difference]:
        """CatLIP minus its opponent in every experiment with all labels in which both were probed
        alike.
        """
        found = {}
        for on, sides in self.cells.items():
            if on.fraction == 1 or on.kind in STUDIES:
                methods = (side.method for side in sides if side.start == RANDOM)
                clip = self.opponent(on.root, on.scale, methods)
                difference = self.difference(on, Side(CATLIP), Side(clip))
                if difference and difference.one_recipe:
                    found[on] = difference
        return found

    def encoder(self, root: str, scale: str) -> str:
        """The encoder of the data's own trainings, or else that of the most accuracies."""
        for trained in self.of(root, scale, Pretrain):
            return trained.config.recipe.encoder
        cells = Counter(on.encoder for on in self.cells if (on.root, on.scale) == (root, scale))
        return cells.most_common(1)[0][0] if cells else ""

    def by_length(self, root: str, scale: str) -> list[Difference]:
        """CatLIP minus CLIP by linear probes with all labels, after each length of training on all
        data with the usual encoder; the shortest first. Where a study and the main trainings have
        one length, the study's, whose recipes are of that length.
        """
        encoder = self.encoder(root, scale)
        found = {
            (on.images, on.task): self.over_clip[on]
            for on in sorted(self.over_clip, key=lambda on: (on.images, on.kind))
            if (on.root, on.scale, on.metric, on.fraction) == (root, scale, "top1", 1)
            and on.kind in ("linear_probe", *STUDIES)
            and on.encoder in (encoder, "")
            and math.isfinite(self.over_clip[on].estimate.value)
        }
        return [*found.values()]

    @cached_property
    def headline(self) -> list[Difference]:
        """Of each data set and task that of the longest training; of a data set the longest first,
        then the tasks that ask most for what the captions name.
        """
        kept = []
        for place in self.settings:
            by_task: dict[str, list[Difference]] = {}
            for found in self.by_length(*place):
                by_task.setdefault(found.on.task, []).append(found)
            kept += sorted(
                map(longest, by_task.values()),
                key=lambda found: (
                    -found.on.images,
                    -self.share_of_classes(found.on),
                    found.on.task,
                ),
            )
        return kept

    def share_of_classes(self, on: Experiment) -> float:
        """The share of a task's labels that are classes of CatLIP's vocabulary; 0 if unknown."""
        exact, count = self.labels_that_are_classes.get((on.root, on.scale, on.task), (0, 0))
        return exact / count if count else 0.0

    @cached_property
    def labels_that_are_classes(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """(root, scale, task) -> how many of its labels are classes of the captions' vocabulary,
        and how many it has; of tasks that CatLIP was probed on with Transfer Init.
        """
        found: dict[tuple[str, str, str], tuple[int, int]] = {}
        for run in self.records.of(LinearProbe):
            for name in run.samples:
                task = name.removeprefix(ORIGINS)
                key = (run.root, run.scale, task)
                if name.startswith(ORIGINS) and key not in found:
                    rows = run.rows(name, LabelOrigin)
                    found[key] = (sum(row.kind == "exact" for row in rows), len(rows))
        return found


def longest(differences: Sequence[Difference]) -> Difference:
    """Of the longest training, of several that are sorted by length; one with an interval goes
    before longer ones without.
    """
    best = differences[0]
    for found in differences[1:]:
        if (found.has_interval, found.on.images) > (best.has_interval, LONGER * best.on.images):
            best = found
    return best


def _alike(images: Iterable[float]) -> dict[float, float]:
    """Length -> the one that it counts as. Whole steps of two sizes do not end after the same
    image, so lengths within 1 % of a group's shortest are one.
    """
    found, shortest = dict[float, float](), 0.0
    for length in sorted({*images}):
        shortest = shortest if length <= 1.01 * shortest else length
        found[length] = float(f"{shortest:.3g}")
    return found


def _content(run: Run[Any]) -> tuple[Any, ...]:
    """A sort key that knows nothing of files."""
    seed = -1 if run.seed is None else run.seed
    what = (run.kind, run.method, seed, run.name, run.environment.started, str(run.raw_metrics))
    return rank_of(run.root, run.scale), *what


def best_scores(trials: Sequence[Run[Trial]]) -> dict[str, float]:
    """Method -> the score of its best trial."""
    return {
        method: max(map(mean_score, of_method.values()))
        for method, of_method in group_by_trial(trials).items()
    }


def difference_rows(differences: Iterable[Difference]) -> Iterator[dict[str, Any]]:
    for found in differences:
        on, in_study = found.on, found.on.kind in STUDIES
        labels = 1 if in_study else on.fraction
        yield {
            "data": data_of(on.root, on.scale).name,
            "encoder": clipped(on.encoder, 24) or None,
            "epochs": found.epochs,
            "images": on.images or None,
            "part": on.fraction if in_study and on.fraction < 1 else None,
            "how": MEASURES[on.metric] or KIND_NAMES.get(on.kind, "linear probe"),
            "labels": labels if labels < 1 else None,
            "task": task_name(on.task) if on.task else None,
            "first": side_name(found.first),
            "second": side_name(found.second),
            "first_mean": found.means[0],
            "second_mean": found.means[1],
            "untrained": found.untrained,
            "difference": found.estimate,
            "covers": found.covers,
            "verdict": found.verdict,
            NOTE: "" if found.one_recipe else "Probed by different recipes.",
            RECORDS: found.records,
        }


def side_name(side: Side) -> str:
    """`CatLIP, Transfer Init`"""
    return name_of(side.method) + STARTS[side.start]


KIND_NAMES = {"finetune": "fine-tuned", "scaling": "linear probe, study of lengths"}
STARTS = {RANDOM: "", TRANSFER: ", Transfer Init", NAMES: ", from class names"}
DIFFERENCES = Spec(
    "differences",
    "Every difference",
    "The first method minus the second in points, paired by seed, with its 95 % interval and what "
    "that is over.",
    [
        Column("Trained on", "data", head=True),
        Column("Encoder", "encoder", head=True),
        Column("Epochs", "epochs", head=True),
        Column("Images", "images", 0, head=True),
        Column("Of the data (%)", "part", factor=100, head=True),
        Column("How", "how", head=True),
        Column("Labels (%)", "labels", factor=100, head=True),
        Column("Tested on", "task"),
        Column("First", "first"),
        Column("Second", "second"),
        Column("Untrained (%)", "untrained", 1),
        Column("First (%)", "first_mean", 1),
        Column("Second (%)", "second_mean", 1),
        Column("Difference", "difference", 1, plus=True),
        Column("Over", "covers"),
        Column("Verdict", "verdict"),
    ],
    difference_rows,
)


# --- The program ----------------------------------------------------------------------------------


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


def write_pairs(config: WritePairs) -> None:
    """Print the differences, and write the pairs."""
    import pandas as pd

    records = read_records(config.records)
    print_problems(records)
    differences = differences_of(Comparisons(records), *config.methods)
    if not differences:
        first, second = config.methods
        raise InputError(f"no experiment has {first} and {second} with the same seed")
    print_tables([DIFFERENCES.fill(differences)])
    if config.out:
        rows = [
            found.on._asdict() | {"seed": seed, "difference": points}
            for found in differences
            for seed, points in found.points.items()
        ]
        write_csv(pd.DataFrame(rows), config.out)
        print(f"{len(rows):,} pairs: {config.out}")


def differences_of(comparisons: Comparisons, first: str, second: str) -> list[Difference]:
    """The first method minus the second in every experiment that both took part in."""
    found = (comparisons.difference(on, Side(first), Side(second)) for on in comparisons.cells)
    return [difference for difference in found if difference]
