"""What Transfer Init adds: pairs of classifiers with and without it, from the same encoder, images
and seed; and where the rows of its classifiers come from.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.downstream.probe.result import (
    Finetune,
    LabelOrigin,
    LinearProbe,
    OnTasks,
    methods_of,
    runs_of,
    task_title,
    tasks_of,
    without_classes,
)
from bench.downstream.probe.worth import PROBE
from catlip.method_style import name_of
from catlip.results.blocks import Block, Section, Text, to_fill
from catlip.results.lines import brief_fraction
from catlip.results.run import Records, Run, Setting
from catlip.results.select import alike, by_scale, link, means_by, suffix
from catlip.table import Cell, Table, clipped, quantity_cell, quantity_of, shown, sign_of, signed

WAYS = {"linear_probe": "Linear probe", "finetune": "Fine-tuning"}
MAX_FRACTIONS = 20
PREFIX = "origins_"
KINDS = {
    "exact": "the class itself",
    "near": "a class near it",
    "mean": "the mean of several classes",
    "random": "random (no class is near enough)",
}
TIES = {
    "frequent": "of equally near classes, the most frequent is used",
    "mean": "of equally near classes, the mean is used",
}
BIAS = {
    "copy": "biases are copied",
    "zero": "biases start at zero",
    "fresh": "biases start at random",
}
SCALE = {
    "as_is": "rows keep their length",
    "fresh": "rows are as long as random ones",
    "unit": "rows have length 1",
}


def section(main: Setting | None, records: Records) -> Section:
    """What Transfer Init adds, for each scale."""
    words = (
        "Each label of a new task is looked up among the nouns of pre-training, and its classifier "
        "row starts from the row of the noun that is found. If this helps, it should be where few "
        "images show what a class looks like. The two runs of a pair differ only in the start."
    )
    blocks: list[Block] = []
    for i, of_scale in enumerate(by_scale(records, main, LinearProbe, Finetune)):
        blocks += map(Text, gain_sentences(of_scale))
        blocks += gain_table(of_scale, suffix(i))
        blocks += map(Text, origin_sentences(of_scale))
    missing = to_fill("No classifier started from rows of pre-training.", PROBE)
    return Section("transfer-init", "Transfer Init", [Text(words), *(blocks or missing)])


@dataclass(frozen=True)
class Gain:
    """One pair of classifiers: one starts from rows of the pre-training classifier, the other at
    random.

    Attributes:
        fraction: fraction of the training data, in %.
        images: how many these are.
        points: difference in top-1 accuracy, transfer - random; NaN if either accuracy is NaN.
    """

    record: Run[OnTasks]
    task: str
    fraction: float
    images: int
    points: float

    @property
    def row(self) -> tuple[str, str, float]:
        """What it has in common with the other gains of a row of the table."""
        return self.record.method, self.task, self.fraction


def gains_of(records: Sequence[Run[OnTasks]], kind: str) -> list[Gain]:
    """Every pair in the records of a kind; both have the same encoder, task, fraction of the data
    and classifier seed.
    """
    gains = []
    of_kind = [record for record in records if record.kind == kind]
    for method in methods_of(of_kind):
        of_method = [record for record in of_kind if record.method == method]
        for record in alike(of_method, of_method).records:
            runs = {(r.task, r.fraction, r.seed, r.init): r for r in runs_of(record)}
            for (task, fraction, seed, init), run in runs.items():
                at_random = runs.get((task, fraction, seed, "random"))
                if init == "transfer" and at_random:
                    points = run.top1 - at_random.top1
                    gains.append(Gain(record, task, fraction, images=run.images, points=points))
    return gains


def encoder_means(gains: Iterable[Gain]) -> dict[int | None, float]:
    """Seed of the encoder -> the mean gain of its pairs, in points, because pairs of one encoder
    are not independent of each other.
    """
    return means_by((gain.record.seed, gain.points) for gain in gains)


def gain_sentences(records: Sequence[Run[OnTasks]]) -> list[str]:
    """Whether Transfer Init gains with the fewest images: one sentence for linear probes and one
    for fine-tuning.
    """
    sentences = []
    for kind, way in WAYS.items():
        gains = gains_of(records, kind)
        method = next(iter(methods_of(gain.record for gain in gains)), "")
        gains = [gain for gain in gains if gain.record.method == method]
        parts = []
        for task in tasks_of((gain.task for gain in gains), records):
            of_task = [gain for gain in gains if gain.task == task]
            fraction = min(gain.fraction for gain in of_task)
            fewest = [gain for gain in of_task if gain.fraction == fraction]
            title = without_classes([gain.record for gain in of_task], task)
            data = f"{shown(fewest[0].images, 0)} images, {brief_fraction(fraction)} % of the data"
            parts.append(f"on {title} ({data}) {verdict([*encoder_means(fewest).values()])}")
        if parts:
            sentences.append(
                f"{way} with the fewest images, Transfer Init against a random start: "
                f"{'; '.join(parts)}."
            )
    return sentences


def verdict(points: Sequence[float]) -> str:
    """What the mean gains of encoders say in words: whether all, some or none of them are above
    zero as they are shown.
    """
    if any(map(math.isnan, points)):
        return "no answer, because an accuracy is NaN"
    helped = sum(sign_of(gain) > 0 for gain in points)
    mean = signed(sum(points) / len(points), 1)
    if len(points) == 1:
        gains = "gains" if helped else "does not gain"
        return f"it {gains} ({mean} points) with one encoder, which is too few to tell"
    if helped == len(points):
        return f"it gains with each of {helped} encoders ({mean} points on average)"
    if not helped:
        return f"it does not gain with any of {len(points)} encoders ({mean} points on average)"
    return (
        f"the encoders disagree: it gains with {helped} of {len(points)} ({mean} points on average)"
    )


def gain_table(records: Sequence[Run[OnTasks]], suffix: str = "") -> list[Table]:
    """The mean gain by fraction of the training data, a group of rows for each method and task."""
    gains = {kind: of_kind for kind in WAYS if (of_kind := gains_of(records, kind))}
    every = [gain for of_kind in gains.values() for gain in of_kind]
    rows: list[list[Cell]] = []
    for method in methods_of(gain.record for gain in every):
        of_method = [gain for gain in every if gain.record.method == method]
        for task in tasks_of((gain.task for gain in of_method), records):
            rows.append([Cell(f"{clipped(name_of(method), 48)}, {task_title(records, task)}")])
            images = {gain.fraction: gain.images for gain in of_method if gain.task == task}
            for fraction in sorted(images)[:MAX_FRACTIONS]:
                count = f"{shown(images[fraction], 0)} images"
                row = [Cell(f"{brief_fraction(fraction)} %", count)]
                for of_kind in gains.values():
                    row += _cells(
                        [gain for gain in of_kind if gain.row == (method, task, fraction)]
                    )
                rows.append(row)
    if not rows:
        return []
    columns = ["Fraction of the training data"]
    for kind in gains:
        columns += [f"{WAYS[kind]}: gain (points)", f"{WAYS[kind]}: encoders that gained"]
    caption = (
        "Top-1 accuracy with Transfer Init minus that with a random start, from the same encoder, "
        "images and seed of the classifier. The pairs of an encoder are averaged first; then mean "
        "± sample standard deviation over n encoders."
    )
    title = f"What Transfer Init adds, {records[0].scale} scale"
    return [Table(f"transfer_gain{suffix}", title, columns, rows=rows, caption=caption)]


def _cells(gains: Sequence[Gain]) -> list[Cell]:
    """The mean gain, and how many encoders gained."""
    anchor = link(list({gain.record.path: gain.record for gain in gains}.values()))
    means = [*encoder_means(gains).values()]
    gained = sum(sign_of(mean, 2) > 0 for mean in means)
    count = Cell(f"{gained} of {len(means)}", anchor=anchor) if gains else Cell()
    return [quantity_cell(quantity_of(means), 2, anchor), count]


Origins = tuple[Run[OnTasks], list[LabelOrigin]]  # the record, and one row for each label


def origins_of(records: Sequence[Run[OnTasks]]) -> dict[str, Origins]:
    """Task -> the first record that says where the rows of the task's labels come from, and what it
    says.
    """
    origins: dict[str, Origins] = {}
    for record in records:
        for name in record.samples:
            if name.startswith(PREFIX) and (rows := record.rows(name, LabelOrigin)):
                origins.setdefault(name.removeprefix(PREFIX), (record, rows))
    return {task: origins[task] for task in tasks_of(origins, records)}


def origin_sentences(records: Sequence[Run[OnTasks]]) -> list[str]:
    """One paragraph: how many labels of each task are of each kind, and how the rows were chosen;
    the records hold every label.
    """
    by_task = origins_of(records)
    if not by_task:
        return []
    sentences = ["Where the rows come from."]
    for task, (record, rows) in by_task.items():
        kinds: list[str] = [row.kind for row in rows]
        counts = ", ".join(f"{words} {kinds.count(kind):,}" for kind, words in KINDS.items())
        mean = quantity_of(row.similarity for row in rows)
        similarity = f"; mean similarity {shown(mean.mean, 2)}" if mean else ""
        sentences.append(f"Of {task_title([record], task)}: {counts}{similarity}.")
    options = next(iter(by_task.values()))[0].setup.transfer
    how = "Similarity is 1 / (1 + steps in WordNet's graph of kinds)"
    if options.alpha is not None:
        how += f", and a class is used for a label from {shown(options.alpha, 2)} on"
    choices = ((options.ties, TIES), (options.bias, BIAS), (options.scale, SCALE))
    chosen = "; ".join(meaning[choice] for choice, meaning in choices if choice in meaning)
    how += f". {chosen[0].upper()}{chosen[1:]}." if chosen else ". "
    return [" ".join([*sentences, how])]
