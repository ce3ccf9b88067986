"""What the page shows of an encoder on new tasks: accuracy with all training data (Table 1's form)
and without training, with little data (the form of Figures 5 and 7), and what Transfer Init adds.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from bench.downstream.probe.result import (
    Finetune,
    LabelOrigin,
    LinearProbe,
    OnTasks,
    Readout,
    SweepRun,
    accuracy_cell,
    agreed,
    chance_of,
    method_cell,
    methods_of,
    runs_of,
    task_title,
    tasks_of,
    tasks_with,
    without_classes,
)
from catlip.method_style import is_ceiling, is_ours
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.figures import MUTED, Figure, thinned
from catlip.results.lines import (
    MOST_LINES,
    Line,
    brief_fraction,
    draw_lines,
    height_for,
    how_drawn,
    line_of,
    said,
)
from catlip.results.run import Records, Run, Setting
from catlip.results.select import alike, by_scale, link, means_by, suffix, unlike
from catlip.table import (
    Cell,
    Table,
    listed,
    paper_name,
    quantity_cell,
    quantity_of,
    shown,
    sign_of,
    signed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Runs = Sequence[Run[OnTasks]]

ENCODER = "--encoder runs/starter/pretrain/catlip-seed0 --data starter:data/starter"
FRACTIONS = "--fraction 0.05 0.1 0.25 0.5 1 --init random transfer"
PROBE = f"python -m bench.downstream.linear_probe {ENCODER} {FRACTIONS}"
FINETUNE = f"python -m bench.downstream.finetune {ENCODER} {FRACTIONS}"
READOUT = f"python -m bench.downstream.readouts {ENCODER}"


def worth_section(main: Setting | None, records: Records, figures: Iterable[Block] = ()) -> Section:
    """Accuracy on new tasks, one row for each method; `figures` come before the tables."""
    words = (
        "Encoders are compared by their accuracy on tasks they were not trained for: with a linear "
        "classifier on frozen features (linear probe, LP), with the whole encoder trained further "
        "(fine-tuning, FT), and without training anything (zero-shot, nearest neighbours). The "
        "paper's Table 1 is further below, at its own scale: do not compare it with these tables."
    )
    blocks: list[Block] = [Text(words), *figures]
    for i, of_scale in enumerate(by_scale(records, main, LinearProbe, Finetune)):
        blocks += worth_table(of_scale, suffix(i))
    if not records.of(LinearProbe):
        blocks += to_fill("No linear probe has been recorded.", PROBE)
    if not records.of(Finetune):
        blocks += to_fill("Nothing was fine-tuned.", FINETUNE)
    tables = []
    for i, readouts in enumerate(by_scale(records, main, Readout)):
        where = (readouts[0].root, readouts[0].scale)
        probes = [r for r in records.of(LinearProbe) if (r.root, r.scale) == where]
        tables += readout_table(readouts, probes, suffix(i))
    no_readout = "No zero-shot or nearest-neighbour accuracy was recorded."
    blocks += tables or to_fill(no_readout, READOUT)
    return Section("worth", "Probes and fine-tuning", blocks)


def worth_table(records: Runs, suffix: str = "") -> list[Table]:
    """Linear-probe and fine-tuned accuracy of one root and scale, with all training data."""
    probes = [record for record in records if record.kind == LinearProbe.kind]
    tuned = [record for record in records if record.kind == Finetune.kind]
    tasks = tasks_of(tasks_with(probes) + tasks_with(tuned), records)
    titles = {task: task_title(records, task) for task in tasks}
    ways = {way: of for way, of in (("LP", probes), ("FT", tuned)) if of}
    columns = ["Method", *(f"{titles[task]}, {way} (%)" for task in tasks for way in ways)]
    rows = {
        method: [accuracy_cell(of, method, task) for task in tasks for of in ways.values()]
        for method in methods_of(records)
    }
    title = (
        f"Table 1's form at {records[0].scale} scale: linear probe "
        f"(LP){' and fine-tuning (FT)' if tuned else ''}, top-1"
    )
    caption = (
        "Mean ± sample standard deviation over n seeds of pre-training; all training data, "
        "classifiers that start at random. Every encoder sees images of its own size, which its "
        "record names."
    )
    chances = [
        f"{shown(chance, 1)} % on {titles[task]}"
        for task in tasks
        if (chance := chance_of(records, task))
    ]
    if chances:
        caption += f" Guessing gives {' and '.join(chances)}."
    if probes and all(r.setup.cached_features for r in probes):
        caption += (
            " The probes compute features once, so they see no augmented image; the paper's probes "
            "(Table 7(a)) augment in every epoch: the two do not give the same number."
        )
    for name, of in (("linear probes", probes), ("fine-tunings", tuned)):
        if fields := unlike(of):
            caption += (
                f" Beware: the {name} here do not all have the same recipe: they differ in "
                f"{listed(fields)}."
            )
    return _grouped(f"worth{suffix}", title, columns, rows=rows, caption=caption)


def readout_table(
    readouts: Sequence[Run[Readout]], probes: Sequence[Run[LinearProbe]], suffix: str = ""
) -> list[Table]:
    """Accuracy without training a classifier, beside the linear probe's, of one root and scale."""
    every = [*readouts, *probes]
    tasks = tasks_of(
        tasks_with(readouts, attrgetter("knn_top1"))
        + tasks_with(readouts, attrgetter("zero_shot_top1")),
        every,
    )
    columns = ["Method"]
    for task in tasks:
        for way in ("zero-shot", "nearest neighbours", "linear probe"):
            columns.append(f"{task_title(every, task)}: {way} (%)")
    rows: dict[str, list[Cell]] = {}
    for method in methods_of(readouts):
        ways = {record.measured.zero_shot for record in readouts if record.method == method}
        how = " and ".join(sorted(f"by {way}" for way in ways if way))
        rows[method] = []
        for task in tasks:
            for records, measure in ((readouts, "zero_shot_"), (readouts, "knn_"), (probes, "")):
                top1, top5 = (
                    accuracy_cell(records, method, task, attrgetter(f"{measure}{top}"))
                    for top in ("top1", "top5")
                )
                if top1.quantity:
                    words = [
                        how if measure == "zero_shot_" else "",
                        f"top-5 {shown(top5.quantity.mean, 1)}" if top5.quantity else "",
                        top1.small,
                    ]
                    top1 = replace(top1, small=", ".join(filter(None, words)))
                rows[method].append(top1)
    voters = agreed(record.setup.neighbours for record in readouts)
    caption = (
        "Top-1, below it top-5 and n. Nearest neighbours: the "
        f"{f'{shown(voters, 0)} ' if voters else ''}training images with the most similar features "
        "vote. Zero-shot: no image of the task is used. CLIP's text tower reads prompts with the "
        "class names; CatLIP takes those rows of its pre-training classifier that Transfer Init "
        "would start from, and never chooses a label without one. Only the linear probe is "
        "trained."
    )
    title = f"Accuracy without training a classifier, {readouts[0].scale} scale"
    return _grouped(f"readouts{suffix}", title, columns, rows=rows, caption=caption)


def _grouped(
    name: str, title: str, columns: Sequence[str], rows: dict[str, list[Cell]], caption: str
) -> list[Table]:
    """A table of the rows that hold a number: first our methods, then, under headings, encoders
    that were not trained here.
    """
    groups: dict[str, list[list[Cell]]] = {
        "": [],
        "Not trained here": [],
        "Sanity ceilings: encoders that other people pre-trained": [],
    }
    ours, elsewhere, ceilings = groups.values()
    for method, cells in rows.items():
        if any(cell.quantity for cell in cells):
            group = ours if is_ours(method) else ceilings if is_ceiling(method) else elsewhere
            group.append([method_cell(method), *cells])
    body: list[list[Cell]] = []
    for heading, group in groups.items():
        body += [[Cell(heading)]] if heading and group else []
        body += group
    return [Table(name, title, columns, rows=body, caption=caption)] if body else []


# Little data

MAX_TICKS = 6
TRANSFER_MARKER = "*"
ASIDE = 1.025  # each line is moved aside by this factor from the line before it
MIN_DOTTED = 0.015  # of the highest accuracy; a line for guessing below it would lie on the axis
MORE = 1.1  # times the fraction that was asked for; above it, the caption says so
# Kind -> the paper's figure, and what ours shows.
FORMS = {
    "linear_probe": ("figure_5", "Linear-probe accuracy"),
    "finetune": ("figure_7", "Fine-tuned accuracy"),
}


def few_labels_section(main: Setting | None, records: Records) -> Section:
    words = (
        "How much of a task's training data does an encoder save? Each point trains on a fraction "
        "of it, with the encoder frozen (linear probe) or trained too (fine-tuning), and is tested "
        "on all test images. A classifier starts at random or from the rows that CatLIP's "
        "pre-training learnt for the same nouns (Transfer Init), which CLIP does not have."
    )
    blocks: list[Block] = [Text(words)]
    ways: tuple[tuple[type[OnTasks], str, str], ...] = (
        (LinearProbe, "No probe with less than all data was recorded.", PROBE),
        (Finetune, "Nothing was fine-tuned with less than all data.", FINETUNE),
    )
    for kind, missing, command in ways:
        figures: list[Figure] = []
        for i, of_scale in enumerate(by_scale(records, main, kind)):
            figures += fraction_figures(of_scale, suffix(i))
        blocks += side_by_side(figures) or to_fill(missing, command)
    return Section("few-labels", "Little data", blocks)


def fraction_figures(records: Runs, suffix: str = "") -> list[Figure]:
    """A figure for each task, a line for each method and start of its classifier; the records are
    of one kind, root and scale. Sanity ceilings are left out.
    """
    kept: list[Run[OnTasks]] = []
    for method in methods_of(records):
        if not is_ceiling(method):
            of_method = [record for record in records if record.method == method]
            kept += alike(of_method, of_method).records
    runs = [run for record in kept for run in runs_of(record) if not math.isnan(run.top1)]
    figures: list[Figure] = []
    for task in tasks_of((run.task for run in runs), kept):
        of_task = [run for run in runs if run.task == task]
        if len({run.fraction for run in of_task}) > 1:
            figures.append(_fraction_figure(kept, f"{len(figures) + 1}{suffix}", task, of_task))
    return figures


def _fraction_figure(records: Runs, suffix: str, task: str, runs: Sequence[SweepRun]) -> Figure:
    form, accuracy = FORMS[records[0].kind]
    title = task_title(records, task)
    every = lines_of(runs)
    lines = every[:MOST_LINES]
    highest = max(y for line in lines for _, y in line.marks)
    sentences = [
        f"{accuracy} on {title} against the fraction of the training data, "
        f"{records[0].scale} scale, in {paper_name(form)}'s form.",
        _counted(runs),
        how_drawn(every),
    ]
    if epochs := agreed(run.record.setup.recipe.epochs for run in runs):
        sentences.append(f"Each trains for {shown(epochs, 0)} epochs on its fraction.")
    chance = chance_of(records, task)
    dotted = chance if chance is not None and chance > MIN_DOTTED * highest else None
    if chance is not None:
        sentences.append(f"Guessing gives {shown(chance, 1)} %{', dotted' if dotted else ''}.")
    name = f"{accuracy.split()[0].lower().replace('-', '_')}_by_share_{suffix}"
    alt = (
        f"Lines of accuracy by fraction of the training data. {said(lines, ' %', brief_fraction)}."
    )

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import NullLocator

        images = {run.fraction: run.images for run in runs}
        fractions = sorted({x for line in lines for x, _ in line.points})
        axes.set_xscale("log")
        axes.set_xlim(fractions[0] / 1.2, fractions[-1] * 1.2)
        axes.set_ylim(0, 1.08 * highest or 1.0)
        ticks = [fractions[i] for i in thinned(len(fractions), MAX_TICKS)]
        labels = [f"{brief_fraction(tick)}\n{_short(images[tick])}" for tick in ticks]
        axes.set_xticks(ticks, labels)
        axes.xaxis.set_minor_locator(NullLocator())
        if dotted is not None:
            axes.axhline(dotted, color=MUTED, linestyle=":", linewidth=1.2)
        axes.set_xlabel("fraction of the training data (%),\nbelow it the number of images")
        axes.set_ylabel(f"{title}, top-1 (%)")
        draw_lines(axes, lines, lambda fraction, steps: fraction * ASIDE**steps)

    caption = " ".join(filter(None, sentences))
    return Figure(name, caption, alt, draw=draw, height=height_for(lines))


def _encoder_key(record: Run) -> str:
    """Equal for all records of one encoder of a method: its seed of pre-training, if known."""
    return record.path if record.seed is None else f"seed {record.seed}"


def lines_of(runs: Sequence[SweepRun]) -> list[Line]:
    """One line for each method and start, through the means over encoders; every classifier is a
    mark.
    """
    lines = []
    for method in methods_of(run.record for run in runs):
        of_method = [run for run in runs if run.record.method == method]
        inits = {run.init for run in of_method}
        for init in sorted(inits):  # random before transfer
            of_init = [run for run in of_method if run.init == init]
            points = [(run.fraction, _encoder_key(run.record), run.top1) for run in of_init]
            line = line_of(method, points)
            if init == "transfer":
                line = replace(line, how="Transfer Init", marker=TRANSFER_MARKER, dashed=True)
            elif "transfer" in inits:
                line = replace(line, how="random head")
            lines.append(line)
    return lines


def _counted(runs: Sequence[SweepRun]) -> str:
    """A sentence on how many encoders each line has, and how many classifiers each point."""
    encoders = {(_encoder_key(run.record), run.record.method, run.init) for run in runs}
    of_lines = Counter((method, init) for _, method, init in encoders)
    of_points = Counter(
        (run.record.method, _encoder_key(run.record), run.init, run.fraction) for run in runs
    )
    words = (
        f"Means are over {_range(of_lines.values(), 'encoder')}, with "
        f"{_range(of_points.values(), 'classifier')} each; every classifier is a mark, moved aside "
        "a little to be seen."
    )
    if any(run.fraction > MORE * run.asked for run in runs):
        words += (
            " Every class keeps at least one image, so small fractions hold more than was asked "
            "for."
        )
    return words


def _range(counts: Collection[int], word: str) -> str:
    low, high = min(counts), max(counts)
    return f"{low if low == high else f'{low} to {high}'} {word}{'s' * (high > 1)}"


def _short(images: int) -> str:
    """A number of images in few letters: 865, 13k, 1.3M."""
    if images < 10_000:
        return shown(images, 0)
    return f"{images / 1e3:.0f}k" if images < 999_500 else f"{images / 1e6:.1f}M"


# Transfer Init

WAYS = {"linear_probe": "Linear probe", "finetune": "Fine-tuning"}
MAX_FRACTIONS = 20
PREFIX = "origins_"
KINDS = {
    "exact": "the class itself",
    "near": "a class near it",
    "mean": "the mean of several classes",
    "random": "random (no class is near enough)",
}
CHOICES = {  # option of Transfer Init -> its value in words
    "ties": {
        "frequent": "of equally near classes, the most frequent is used",
        "mean": "of equally near classes, the mean is used",
    },
    "bias": {
        "copy": "biases are copied",
        "zero": "biases start at zero",
        "fresh": "biases start at random",
    },
    "scale": {
        "as_is": "rows keep their length",
        "fresh": "rows are as long as random ones",
        "unit": "rows have length 1",
    },
}


def transfer_init_section(main: Setting | None, records: Records) -> Section:
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
    """A pair of classifiers of one encoder, task, fraction (in %) of the data and seed.

    `points` is the difference in top-1 accuracy, started from rows of pre-training - at random.
    """

    record: Run[OnTasks]
    task: str
    fraction: float
    images: int
    points: float


def gains_of(records: Runs, kind: str) -> list[Gain]:
    """Every pair in the records of a kind."""
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


def encoder_means(gains: Iterable[Gain]) -> list[float]:
    """The mean gain of each encoder, because pairs of one encoder are not independent."""
    return [*means_by((gain.record.seed, gain.points) for gain in gains).values()]


def gain_sentences(records: Runs) -> list[str]:
    """Whether Transfer Init gains with the fewest images: one sentence for linear probes and one
    for fine-tuning, on the first method.
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
            parts.append(f"on {title} ({data}) {verdict(encoder_means(fewest))}")
        if parts:
            sentences.append(
                f"{way} with the fewest images, Transfer Init against a random start: "
                f"{'; '.join(parts)}."
            )
    return sentences


def verdict(points: Sequence[float]) -> str:
    """Whether all, some or none of the encoders' mean gains are above zero as they are shown."""
    if any(map(math.isnan, points)):
        return "no answer, because an accuracy is NaN"
    helped, count = sum(sign_of(gain) > 0 for gain in points), len(points)
    mean = signed(sum(points) / count, 1)
    if count == 1:
        gains = "gains" if helped else "does not gain"
        return f"it {gains} ({mean} points) with one encoder, which is too few to tell"
    if helped == count:
        return f"it gains with each of {count} encoders ({mean} points on average)"
    if not helped:
        return f"it does not gain with any of {count} encoders ({mean} points on average)"
    return f"the encoders disagree: it gains with {helped} of {count} ({mean} points on average)"


def gain_table(records: Runs, suffix: str = "") -> list[Table]:
    """The mean gain by fraction of the training data, a group of rows for each method and task."""
    by_kind = {kind: gains for kind in WAYS if (gains := gains_of(records, kind))}
    every = [gain for gains in by_kind.values() for gain in gains]
    rows: list[list[Cell]] = []
    for method in methods_of(gain.record for gain in every):
        of_method = [gain for gain in every if gain.record.method == method]
        for task in tasks_of((gain.task for gain in of_method), records):
            rows.append([Cell(f"{method_cell(method).text}, {task_title(records, task)}")])
            images = {gain.fraction: gain.images for gain in of_method if gain.task == task}
            for fraction in sorted(images)[:MAX_FRACTIONS]:
                count = f"{shown(images[fraction], 0)} images"
                row = [Cell(f"{brief_fraction(fraction)} %", count)]
                for gains in by_kind.values():
                    row += _gain_cells(
                        [
                            gain
                            for gain in gains
                            if (gain.record.method, gain.task, gain.fraction)
                            == (method, task, fraction)
                        ]
                    )
                rows.append(row)
    if not rows:
        return []
    columns = ["Fraction of the training data"]
    for kind in by_kind:
        columns += [f"{WAYS[kind]}: gain (points)", f"{WAYS[kind]}: encoders that gained"]
    caption = (
        "Top-1 accuracy with Transfer Init minus that with a random start, from the same encoder, "
        "images and seed of the classifier. The pairs of an encoder are averaged first; then mean "
        "± sample standard deviation over n encoders."
    )
    title = f"What Transfer Init adds, {records[0].scale} scale"
    return [Table(f"transfer_gain{suffix}", title, columns, rows=rows, caption=caption)]


def _gain_cells(gains: Sequence[Gain]) -> list[Cell]:
    """The mean gain, and how many encoders gained."""
    anchor = link(list({gain.record.path: gain.record for gain in gains}.values()))
    means = encoder_means(gains)
    gained = sum(sign_of(mean, 2) > 0 for mean in means)
    count = Cell(f"{gained} of {len(means)}", anchor=anchor) if gains else Cell()
    return [quantity_cell(quantity_of(means), 2, anchor), count]


def origins_of(records: Runs) -> dict[str, tuple[Run[OnTasks], list[LabelOrigin]]]:
    """Task -> the first record that says where its labels' rows come from, with what it says."""
    origins: dict[str, tuple[Run[OnTasks], list[LabelOrigin]]] = {}
    for record in records:
        for name in record.samples:
            if name.startswith(PREFIX) and (rows := record.rows(name, LabelOrigin)):
                origins.setdefault(name.removeprefix(PREFIX), (record, rows))
    return {task: origins[task] for task in tasks_of(origins, records)}


def origin_sentences(records: Runs) -> Iterator[str]:
    """One paragraph: how many labels of each task are of each kind, and how rows were chosen."""
    by_task = origins_of(records)
    if not by_task:
        return
    sentences = ["Where the rows come from."]
    for task, (record, rows) in by_task.items():
        kinds = Counter[str](row.kind for row in rows)
        counts = ", ".join(f"{words} {kinds[kind]:,}" for kind, words in KINDS.items())
        mean = quantity_of(row.similarity for row in rows)
        similarity = f"; mean similarity {shown(mean.mean, 2)}" if mean else ""
        sentences.append(f"Of {task_title([record], task)}: {counts}{similarity}.")
    options = next(iter(by_task.values()))[0].setup.transfer
    how = "Similarity is 1 / (1 + steps in WordNet's graph of kinds)"
    if options.alpha is not None:
        how += f", and a class is used for a label from {shown(options.alpha, 2)} on"
    choices = ((words, getattr(options, name)) for name, words in CHOICES.items())
    chosen = "; ".join(words[choice] for words, choice in choices if choice in words)
    how += f". {chosen[0].upper()}{chosen[1:]}." if chosen else ". "
    yield " ".join([*sentences, how])
