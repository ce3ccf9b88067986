"""What the page shows of an encoder on new tasks: accuracy with all training data (Table 1's form)
and without training, and with little data (the form of Figure 5).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.downstream.probe.result import (
    Finetune,
    L2Probe,
    LabelOrigin,
    LinearProbe,
    OnTasks,
    Readouts,
    SweepRun,
    accuracy_cell,
    class_accuracies,
    method_cell,
    methods_of,
    num_classes,
    on_task,
    runs_of,
    task_title,
    tasks_by_importance,
)
from bench.study.result import best_clip
from catlip.records.blocks import Block, Section, Text, command_to_fill, side_by_side
from catlip.records.figures import MUTED, Axes, Figure, hide_rows, panels_of, write_out_powers
from catlip.records.lines import (
    Line,
    bars_in_words,
    brief_fraction,
    draw_lines,
    height_for,
    line_of,
    means_in_words,
)
from catlip.records.run import Records, Run, Setting, select_kind
from catlip.records.select import group_by_scale, keep_common_recipe, suffix
from catlip.records.styles import CATLIP, colour_of, is_ceiling, is_ours, marker_of, name_of
from catlip.records.table import Cell, Table, clipped, format_number, paper_name

Runs = Sequence[Run[OnTasks]]
MAX_CLASSES = 60  # of a figure that has a row for each
ENCODER = "--encoder runs/starter/pretrain/catlip-seed0 --data starter:data/starter"
FRACTIONS = "--fraction 0.05 0.1 0.25 0.5 1 --init random transfer"
PROBE = f"python -m bench.downstream.linear_probe {ENCODER} {FRACTIONS}"
READOUTS = f"python -m bench.downstream.readouts {ENCODER}"
CEILINGS = "Sanity ceilings: encoders that other people pre-trained"
ELSEWHERE = "Not trained here"


def worth_section(main: Setting | None, records: Records) -> Section:
    words = (
        "A linear classifier on frozen features (linear probe, LP), the whole encoder trained "
        "further (fine-tuning, FT), or nothing trained (zero-shot, nearest neighbours)."
    )
    blocks: list[Block] = [Text(words)]
    # The last appendix has a table of the other scales.
    for runs in group_by_scale(records, main, LinearProbe, L2Probe, Finetune)[:1]:
        blocks += worth_table(runs)
        place = (runs[0].root, runs[0].scale)
        tuned = [run for run in records.every if (run.root, run.scale) == place]
        clip = best_clip((run.method for run in runs), tuned)
        blocks += side_by_side(class_figures(runs, clip))
    if not records.of(LinearProbe):
        blocks += command_to_fill("No linear probe has been recorded.", PROBE)
    for i, readouts in enumerate(group_by_scale(records, main, Readouts)):
        blocks += readouts_table(readouts, suffix(i))
    if not records.of(Readouts):
        blocks += command_to_fill(
            "No zero-shot or nearest-neighbour accuracy was recorded.", READOUTS
        )
    return Section("worth", "Probes and fine-tuning", blocks)


def worth_table(records: Runs) -> list[Table]:
    """Linear-probe and fine-tuned accuracy of one root and scale, with all training data."""
    columns = {
        title: (same, "top1")
        for title, kind in (("LP", LinearProbe), ("LP by L2 sweep", L2Probe), ("FT", Finetune))
        if (same := select_kind(records, kind))
    }
    caption = (
        "Top-1, mean ± sample standard deviation over n seeds of pre-training; all training data, "
        "classifiers that start at random."
    )
    if any(record.config.cached_features for record in records):
        caption += " Features are cached: unlike the paper's, without augmentation."
    if "LP by L2 sweep" in columns:
        caption += (
            " LP by L2 sweep is another protocol, that of CLIP: logistic regression on cached "
            "features, its L2 strength chosen on held-out images. Compare only within a column."
        )
    guesses = [
        f"{format_number(chance, 1)} % on {task_title(records, task)}"
        for task in tasks_by_importance(
            (task for run in records for task in run.metrics.tasks), records
        )
        if (chance := chance_level(records, task))
    ]
    caption += f" Guessing gives {' and '.join(guesses)}." if guesses else ""
    return accuracy_table("worth", f"Table 1's form at {records[0].scale} scale", columns, caption)


def class_figures(records: Runs, clip: str) -> list[Figure]:
    """Accuracy of CatLIP and this CLIP on each class, of each task that has few classes."""
    all_probes = select_kind(records, LinearProbe)
    figures: list[Figure] = []
    for task, (record, origins) in origins_of(all_probes).items():
        probes = [probe for probe in all_probes if task in probe.metrics.tasks]
        images = {row.label: row.test_images for row in origins if row.test_images}
        by_method = {}
        for method in (CATLIP, clip):
            comparable = keep_common_recipe([r for r in probes if r.method == method], probes, task)
            by_method[method] = class_accuracies(comparable.records, task, images)
        if all(by_method.values()) and len(images) <= MAX_CLASSES:
            counts = {label: len(positions) for label, positions in images.items()}
            name = f"class_accuracy_{len(figures) + 1}"
            title = f"{task_title([record], task)}, {record.scale} scale"
            figures.append(_class_figure(name, title, counts, by_method))
    return figures


def _class_figure(
    name: str,
    title: str,
    counts: Mapping[str, int],
    by_method: Mapping[str, Mapping[str, float]],
) -> Figure:
    catlip, clip = by_method.values()
    labels = sorted(counts, key=lambda label: (clip[label] - catlip[label], label))
    behind = [label for label in labels if catlip[label] < clip[label]]
    level = sum(catlip[label] == clip[label] for label in labels)
    largest = max(counts, key=lambda label: counts[label])
    also = ", among them the largest" if largest in behind else ""
    also += f"; the two are level in {level}" if level else ""
    caption = (
        f"Linear-probe accuracy on each class of {title}, means over seeds; in brackets: test "
        f"images. CLIP leads in {len(behind)} of {len(labels)} classes{also}."
    )
    values = "; ".join(
        f"{clipped(one, 24)} {format_number(catlip[one], 0)} and {format_number(clip[one], 0)}"
        for one in labels
    )
    alt = f"Pairs of marks, {' and '.join(map(name_of, by_method))} in %. {values}."

    def draw(axes: Axes) -> None:
        panels = panels_of(axes, 2)
        half = -(-len(labels) // 2)
        for panel, column in zip(panels, (labels[:half], labels[half:]), strict=True):
            rows = range(len(column))
            ends = [[side[label] for label in column] for side in (catlip, clip)]
            panel.hlines(rows, ends[0], ends[1], color=MUTED, linewidth=1)
            for method, top1 in zip(by_method, ends, strict=True):
                style: dict[str, Any] = {"marker": marker_of(method), "color": colour_of(method)}
                panel.plot(top1, rows, linestyle="", label=name_of(method), markersize=5, **style)
            names = [f"{clipped(label, 24)} ({counts[label]})" for label in column]
            panel.set_yticks(rows, names, fontsize=9)
            panel.set_ylim(half - 0.4, -0.6)
            panel.set_xlim(-3, 103)
            panel.set_xlabel("top-1 (%)")
            hide_rows(panel)
        panels[1].legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=9, frameon=False
        )

    height = 0.7 + 0.18 * (len(labels) + 1) / 2
    return Figure(name, caption, alt, draw=draw, height=height, width=6.4)


def readouts_table(readouts: Runs, suffix: str) -> list[Table]:
    """Accuracy without training a classifier, for one root and scale."""
    columns = {
        "zero-shot": (readouts, "zero_shot_top1"),
        "nearest neighbours": (readouts, "knn_top1"),
    }
    caption = (
        "Top-1. Nearest neighbours: the training images with the most similar features vote. "
        "Zero-shot: CLIP's text tower reads prompts with the class names; CatLIP takes the rows of "
        "its classifier that Transfer Init would start from, and never chooses a label without one."
    )
    title = f"Accuracy without training a classifier, {readouts[0].scale} scale"
    return accuracy_table(f"readouts{suffix}", title, columns, caption)


def accuracy_table(
    name: str, title: str, columns: Mapping[str, tuple[Runs, str]], caption: str
) -> list[Table]:
    """The accuracies of each method by task; a column has records and a field of `TaskResult`.
    First our methods, then, under headings, encoders that were not trained here.
    """
    records = [record for runs, _ in columns.values() for record in runs]
    names = [
        task
        for runs, metric in columns.values()
        for record in runs
        for task in record.metrics.tasks
        if on_task(record, task, metric) is not None
    ]
    tasks = tasks_by_importance(names, records)
    titles = [f"{task_title(records, task)}, {column} (%)" for task in tasks for column in columns]
    groups: dict[str, list[list[Cell]]] = {"": [], ELSEWHERE: [], CEILINGS: []}
    for method in methods_of(records):
        cells = [
            accuracy_cell(runs, method, task, metric)
            for task in tasks
            for runs, metric in columns.values()
        ]
        if any(cell.quantity for cell in cells):
            heading = "" if is_ours(method) else CEILINGS if is_ceiling(method) else ELSEWHERE
            groups[heading].append([method_cell(method), *cells])
    rows = []
    for heading, group in groups.items():
        if heading and group:
            rows.append([Cell(heading)])
        rows += group
    return [Table(name, title, ["Method", *titles], rows=rows, caption=caption)] if rows else []


def chance_level(records: Runs, task: str) -> float | None:
    """What guessing gives, in %; None if the number of classes is not known."""
    classes = num_classes(records, task)
    return 100 / classes if classes else None


# Little data

TRANSFER_MARKER = "*"
ASIDE = 1.025  # each line is moved aside by this factor from the line before it


def few_labels_section(main: Setting | None, records: Records) -> Section:
    words = (
        "Each point trains a linear classifier on a fraction of a task's training data, and is "
        "tested on all test images. It starts at random, from CatLIP's rows of the same nouns "
        "(Transfer Init), or from CLIP's embeddings of the names."
    )
    blocks: list[Block] = []
    for runs in group_by_scale(records, main, LinearProbe)[:1]:  # the forest shows the other scales
        blocks += fraction_panels(runs)
    missing = command_to_fill("No linear probe with less than all data was recorded.", PROBE)
    return Section("few-labels", "Little data", [Text(words), *(blocks or missing)])


def fraction_panels(records: Runs) -> list[Block]:
    """A panel for each task, a line for each method and start; of one recipe, since classifiers
    that were trained for fewer steps differ most with few images.
    """
    records = probes_of_one_recipe(records)
    runs = [run for record in records for run in runs_of(record) if not math.isnan(run.top1)]
    panels, how, encoders = list[Figure](), "", set[tuple[str, str, str, str]]()
    for task in tasks_by_importance((run.task for run in runs), records):
        same = [run for run in runs if run.task == task]
        if len({run.fraction for run in same}) > 1:
            panels.append(_fraction_figure(records, str(len(panels) + 1), task, same))
            encoders |= {(task, r.record.method, r.init, _encoder_key(r.record)) for r in same}
            how = bars_in_words(lines_of(same))
    if not panels:
        return []
    counts = Counter(line[:3] for line in encoders).values()
    caption = (
        f"Linear-probe accuracy in {paper_name('figure_5')}'s form: means of "
        f"{' to '.join(map(str, sorted({min(counts), max(counts)})))} encoders, a mark for each "
        f"classifier, moved aside to be seen. {how}"
    )
    return side_by_side(panels, caption.strip())


def probes_of_one_recipe(records: Runs) -> Runs:
    """The records of our encoders that were probed by the most common recipe."""
    ours = [record for record in records if is_ours(record.method)]
    return keep_common_recipe(ours, ours).records


def _fraction_figure(records: Runs, suffix: str, task: str, runs: Sequence[SweepRun]) -> Figure:
    title, chance = task_title(records, task), chance_level(records, task)
    lines = lines_of(runs)
    caption = "" if chance is None else f"Guessing gives {format_number(chance, 1)} %, dotted."

    def draw(axes: Axes) -> None:
        fractions = sorted({x for line in lines for x, _ in line.points})
        axes.set_xscale("log")
        axes.set_xlim(fractions[0] / 1.3, fractions[-1] * 1.2)
        axes.set_ylim(0, 1.08 * max(y for line in lines for _, y in line.marks) or 1.0)
        write_out_powers(axes.xaxis)
        if chance is not None:
            axes.axhline(chance, color=MUTED, linestyle=":", linewidth=1.2)
        axes.set_xlabel("fraction of the training data (%)")
        axes.set_ylabel(f"{title}, top-1 (%)")
        draw_lines(axes, lines, lambda fraction, steps: fraction * ASIDE**steps)

    name = f"linear_probe_by_share_{suffix}"
    means = means_in_words(lines, " %", brief_fraction)
    alt = f"Lines of accuracy by fraction of the training data. {means}."
    return Figure(name, caption, alt, draw=draw, height=height_for(lines))


def _encoder_key(record: Run) -> str:
    """Equal for all records of one encoder of a method: its seed of pre-training, if known."""
    return record.path if record.seed is None else f"seed {record.seed}"


def lines_of(runs: Sequence[SweepRun]) -> list[Line]:
    """A line for each method and start, of means over encoders; every classifier is a mark."""
    lines = []
    for method in methods_of(run.record for run in runs):
        inits = {run.init for run in runs if run.record.method == method}
        for init in sorted(inits):  # random before transfer
            points = [
                (run.fraction, _encoder_key(run.record), run.top1)
                for run in runs
                if (run.record.method, run.init) == (method, init)
            ]
            line = line_of(method, points)
            if init == "transfer":
                line = replace(line, how="Transfer Init", marker=TRANSFER_MARKER, dashed=True)
            elif init == "names":
                line = replace(line, how="from names", marker=TRANSFER_MARKER, dashed=True)
            elif len(inits) > 1:
                line = replace(line, how="random start")
            lines.append(line)
    return lines


PREFIX = "origins_"


def origins_of(records: Runs) -> dict[str, tuple[Run[OnTasks], list[LabelOrigin]]]:
    """Task -> the first record that has the origins of its labels' rows, and these origins."""
    origins: dict[str, tuple[Run[OnTasks], list[LabelOrigin]]] = {}
    for record in records:
        for name in record.samples:
            if name.startswith(PREFIX) and (rows := record.rows(name, LabelOrigin)):
                origins.setdefault(name.removeprefix(PREFIX), (record, rows))
    return {task: origins[task] for task in tasks_by_importance(origins, records)}
