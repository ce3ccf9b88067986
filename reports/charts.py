"""What each figure of the page shows: selections of the comparisons and of benches' records."""

import math
from collections.abc import Callable, Iterator
from itertools import islice, product

from bench.study.result import LengthTraining, Threshold, curves, threshold_accuracies
from bench.waterfall.result import Waterfall
from catlip.records.estimate import mean_difference, mean_of, value_of
from catlip.records.styles import CATLIP, CLIPS, name_of
from catlip.records.table import clipped
from catlip.vocabulary.result import VocabularyStatistics, similarities, tail
from reports.factorial import NOUNS, WORDS, crossed, crossed_losses, words_per_caption
from reports.figures import (
    ROW,
    UNIQUE,
    Figure,
    Mark,
    Panel,
    Series,
    marks_of,
    numbered,
    of_method,
)
from reports.names import data_of, length_of, task_name
from reports.pairs import NAMES, RANDOM, STARTS, TRANSFER, Comparisons, Experiment, Side
from reports.paper.scale import architecture

# The method whose colour a loss has, and what it reads.
METHOD_OF_LOSS = {
    "contrast": ("clip_bag", "contrast (CLIP: all words)"),
    "softmax": ("superclass", "softmax (SuperClass: all words)"),
    "binary": ("catlip", "binary (CatLIP: nouns)"),
}
CLAIMED = "vit_b16"  # the encoder of the title's 2.7
MAX_PANELS = 4


def headline(comparisons: Comparisons) -> list[Figure]:
    """Accuracy against what of a caption is read, a panel a data set; and CatLIP's lead against
    epochs. Without the first, the forest of all tasks stands in.
    """
    panels = [*islice(_words_panels(comparisons), MAX_PANELS - 1)]
    if lead := _lead_panel(comparisons):
        panels.append(lead)
    if len(panels) < 2:
        return forest(comparisons)
    caption = (
        "Linear probes, 95 % intervals of six seeds; dotted: an untrained encoder. Left: accuracy "
        "after the longest training, by the words of a caption that are read and by what is asked "
        "of them. Right: the best CLIP is the one with the better text tower."
    )
    return [Figure("headline", caption, panels, width=3.3 * len(panels), height=3.4)]


def _words_panels(comparisons: Comparisons) -> Iterator[Panel]:
    """The first task of each data set after its longest training."""
    seen = set[tuple[str, str]]()
    for experiment in crossed(comparisons):
        place = (experiment.on.root, experiment.on.scale)
        if place in seen or experiment.on.encoder != comparisons.encoder(*place):
            continue
        seen.add(place)
        read = words_per_caption(comparisons, *place)
        share = {WORDS: 100.0, NOUNS: 100 * read.get(NOUNS, 0) / read.get(WORDS, 1)}
        floor = [*comparisons.untrained(experiment.on).values()]
        series = []
        for loss in crossed_losses({*experiment.scores}):
            means = {
                share[words]: mean_difference([*experiment.scores[loss, words].values()])
                for words in (NOUNS, WORDS)
            }
            method, name = METHOD_OF_LOSS[loss]
            series.append(of_method(method, marks_of(means), name))
        yield Panel(
            "lines",
            series,
            x="words read (%)",
            y=f"{task_name(experiment.on.task)}, top-1 (%)",
            title=data_of(*place).short + length_of(experiment.epochs),
            floor=sum(floor) / len(floor) if floor else None,
            ticks=[(share[NOUNS], f"nouns\n{share[NOUNS]:.0f}"), (100.0, "all\n100")],
        )


def _lead_panel(comparisons: Comparisons) -> Panel | None:
    """CatLIP minus CLIP against epochs: a line for each data set and its first tasks."""
    lines = []
    for place in comparisons.settings:
        headline = [found for found in comparisons.headline if found.place == place]
        by_length = comparisons.by_length(*place)
        for task in dict.fromkeys(found.on.task for found in headline[:2]):
            leads = {
                found.epochs: found.estimate
                for found in by_length
                if found.on.task == task and found.epochs and found.has_interval
            }
            if len(leads) > 1:
                lines.append((f"{data_of(*place).short}: {task_name(task)}", marks_of(leads)))
    title = "CatLIP minus its best CLIP"
    panel = Panel("lines", numbered(lines), x="epochs", y="points", title=title, log=True)
    return panel if lines else None


def forest(comparisons: Comparisons) -> list[Figure]:
    """CatLIP minus CLIP on every task, under a heading for each data set and length."""
    marks, before = list[Mark](), ""
    for found in comparisons.headline:
        if (heading := data_of(*found.place).short + length_of(found.epochs)) != before:
            marks.append(Mark(heading, math.nan))
            before = heading
        marks += marks_of({task_name(found.on.task) + UNIQUE * len(marks): found.estimate})
    if not marks:
        return []
    panel = Panel("forest", [Series("", "", "o", marks)], x="CatLIP \N{MINUS SIGN} CLIP, points")
    caption = "Linear probes with all labels; bars are 95 % intervals of six seeds or more."
    return [Figure("forest", caption, [panel], width=5.4, height=0.7 + ROW * len(marks))]


def lengths(comparisons: Comparisons) -> list[Figure]:
    """Accuracy against the operations of whole trainings, in Figure 4's form."""
    caption = "each mark is a length of whole trainings."
    return _of_each_data_set("lengths", caption, _length_panels, comparisons)


def few_labels(comparisons: Comparisons) -> list[Figure]:
    """Accuracy against the fraction of a task's labels, in Figure 5's form."""
    caption = "linear probes with a fraction of the labels."
    return _of_each_data_set("few_labels", caption, _few_label_panels, comparisons)


def _of_each_data_set(
    name: str,
    caption: str,
    panels_of: Callable[[Comparisons, str, str], Iterator[Panel]],
    comparisons: Comparisons,
) -> list[Figure]:
    figures = list[Figure]()
    for place in comparisons.settings:
        if panels := [*islice(panels_of(comparisons, *place), 3)]:
            of_data = f"{data_of(*place).name}: {caption}"
            size = {"width": 3.2 * len(panels), "height": 2.9}
            figures.append(Figure(f"{name}_{len(figures) + 1}", of_data, panels, **size))
    return figures


def _length_panels(comparisons: Comparisons, root: str, scale: str) -> Iterator[Panel]:
    found = curves(comparisons.of(root, scale, LengthTraining))
    shown = [curve for curve in found if curve.method in (CATLIP, *CLIPS)]
    for task in dict.fromkeys(task for curve in shown for task in curve.top1):
        series = []
        for curve in shown:
            if by_seed := curve.top1.get(task):
                flops = [cost / 1e12 for cost in curve.costs("flops")]
                of_lengths = zip(*by_seed.values(), strict=True)
                means = zip(flops, map(mean_difference, of_lengths), strict=True)
                series.append(of_method(curve.method, marks_of(dict(means))))
        y = f"{task_name(task)}, top-1 (%)"
        yield Panel("lines", series, x="10¹² FLOPs of a training", y=y, log=True)


def _few_label_panels(comparisons: Comparisons, root: str, scale: str) -> Iterator[Panel]:
    tasks: dict[str, list[Experiment]] = {}
    for on in comparisons.cells:
        if (on.root, on.scale, on.kind, on.metric) == (root, scale, "linear_probe", "top1"):
            tasks.setdefault(on.task, []).append(on)
    for task, cells in tasks.items():
        if len(cells) == 1:
            continue
        there = (side.method for on in cells for side in comparisons.cells[on])
        series = []
        for method, start in product(
            (CATLIP, comparisons.opponent(root, scale, there)), (RANDOM, TRANSFER, NAMES)
        ):
            marks = [
                Mark(100 * on.fraction, value_of(mean_of(scores.values())))
                for on in sorted(cells, key=lambda on: on.fraction)
                if (scores := comparisons.scores(on, Side(method, start)))
            ]
            if len(marks) > 1:
                name = f"{name_of(method)}{STARTS[start]}"
                series.append(of_method(method, marks, name, dashed=start != RANDOM))
        if series:
            y = f"{task_name(task)}, top-1 (%)"
            yield Panel("lines", series, x="labels (%)", y=y, log=True)


def waterfalls(comparisons: Comparisons) -> list[Figure]:
    """The changes from the released CLIP configuration to CatLIP's, from first to last."""
    figures = list[Figure]()
    for run in comparisons.records.of(Waterfall)[:2]:
        release = run.metrics.release
        ratios = {
            f"{clipped(step.factor, 28)}: {step.change}": run.trusted(step.ratio)
            for step in release.orders.get("forward", [])
            if step.ratio and 1e-3 < step.ratio.value < 1e3
        }
        if release.total.ratio:
            ratios["first against last, in turns"] = run.trusted(release.total.ratio)
        marks = marks_of(ratios)
        if marks and architecture(run.config.model) == CLAIMED:
            marks.append(Mark("the paper's claim", run.metrics.published_ratio))
        if marks:
            panel = Panel("bars", [of_method(CATLIP, marks)], x="times faster", log=True, floor=1)
            caption = f"One change at a time, {clipped(run.config.model, 24)} on {run.where}."
            name = f"waterfall_{len(figures) + 1}"
            height = 0.7 + ROW * len(marks)
            figures.append(Figure(name, caption, [panel], width=6.4, height=height))
    return figures


def captions(comparisons: Comparisons) -> list[Figure]:
    """How often synsets occur (Figure 3(a)), and labels of other data sets among them (2(b))."""
    panels = list[Panel]()
    for run in comparisons.records.of(VocabularyStatistics)[:1]:
        points = tail(run)[:: max(1, len(tail(run)) // 200)]
        if points:
            counts = [Mark(rank, math.log10(count)) for rank, count in points]
            ticks = [(at, f"{at:,.0f}") for at in (0, run.metrics.num_classes)]
            panels.append(
                Panel(
                    "lines",
                    numbered([("", counts)]),
                    x="synset by descending count; kept up to the tick",
                    y="log10 of occurrences",
                    ticks=ticks,
                )
            )
        lines = [
            (name, [Mark(least, found) for least, found in curve])
            for name, curve in similarities(run).items()
        ]
        if lines:
            panels.append(
                Panel("lines", numbered(lines), x="path similarity, at least", y="labels found (%)")
            )
    caption = "Synsets of the captions, and labels of other data sets with a class so near."
    return [Figure("captions", caption, panels, width=7.6, height=2.9)] if panels else []


def thresholds(comparisons: Comparisons) -> list[Figure]:
    """Accuracy by pruning threshold, in Figure 6's form."""
    figures = list[Figure]()
    for run in comparisons.records.of(Threshold)[:1]:
        lines = []
        for task, levels in threshold_accuracies(run).items():
            means = {at: mean_difference([*seeds.values()]) for at, seeds in levels.items()}
            lines.append((task_name(task), marks_of(means)))
        panel = Panel("lines", numbered(lines), x="pruning threshold", y="top-1 (%)", log=True)
        caption = "Linear probes by pruning threshold, 95 % intervals."
        figures.append(Figure("thresholds", caption, [panel], width=4.2, height=2.9))
    return figures
