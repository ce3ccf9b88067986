"""Accuracy on new tasks, a row an encoder: Table 1's form at this setting's scale, and what is read
out without training.
"""

from collections.abc import Sequence
from dataclasses import replace

from catlip.method_style import is_ceiling, is_ours
from catlip.table import Cell, Table, clipped, shown
from reports.compare.differences import listed
from reports.read.likeness import unlike
from reports.read.records import Record, number, text
from reports.transfer.transfer_runs import (
    TASKS,
    accuracy_cell,
    agreed,
    chance_of,
    method_cell,
    methods_of,
    same_recipe,
    task_title,
    tasks_of,
    tasks_with,
)

CEILING = "Sanity ceilings: encoders that other people pre-trained"
ELSEWHERE = "Not trained here"
PROMPTS = {"prompts": "by prompts", "classifier rows": "by classifier rows"}


def worth_table(records: Sequence[Record], scale: str, suffix: str = "") -> list[Table]:
    """Linear probe (LP) and fine-tuned (FT) accuracy with all of the training data, a row a method.

    Args:
        records: of kinds linear_probe and finetune, of one root and scale.
    """
    probes, tuned = (_of(records, kind) for kind in ("linear_probe", "finetune"))
    tasks = tasks_of(tasks_with(probes, "_top1") + tasks_with(tuned, "_top1"))
    ways = {"LP": probes, "FT": tuned}
    shown_ways = [(way, of) for way, of in ways.items() if of]
    columns = [
        "Method",
        *(f"{task_title(records, task)}, {way} (%)" for task in tasks for way, _ in shown_ways),
    ]
    rows = {
        method: [
            accuracy_cell(of, method, f"{task}_top1") for task in tasks for _, of in shown_ways
        ]
        for method in methods_of(records)
    }
    title = (
        f"Table 1's form at {scale} scale: linear probe "
        f"(LP){' and fine-tuning (FT)' if tuned else ''}, top-1"
    )
    return _grouped(f"worth{suffix}", title, columns, rows, _worth_caption(probes, tuned, tasks))


def _worth_caption(probes: Sequence[Record], tuned: Sequence[Record], tasks: Sequence[str]) -> str:
    words = (
        "Mean ± sample standard deviation over n seeds of pre-training; all training data, "
        "classifiers that start at random."
    )
    words += " Every encoder sees images of its own size, which its record names."
    words += _guessing([*probes, *tuned], tasks)
    if probes and all(r.config.get("cached_features") is True for r in probes):
        words += (
            " The probes compute features once, so they see no augmented image; the paper's, Table "
            "7(a), augments in every "
            "epoch: the two do not give the same number."
        )
    for name, of in (("linear probes", probes), ("fine-tunings", tuned)):
        if not same_recipe(of):
            fields = listed(unlike(of))
            words += (
                f" Beware: the {name} here do not all have the same recipe: they differ in "
                f"{fields}."
            )
    return words


def _guessing(records: Sequence[Record], tasks: Sequence[str]) -> str:
    chances = {
        task: chance for task in tasks if task in TASKS and (chance := chance_of(records, task))
    }
    said = [
        f"{shown(chance, 1)} % on {task_title(records, task)}" for task, chance in chances.items()
    ]
    return f" Guessing gives {' and '.join(said)}." if said else ""


def readout_table(records: Sequence[Record], scale: str, suffix: str = "") -> list[Table]:
    """Accuracy without training a classifier, beside the linear probe's, a row a method.

    Args:
        records: of kinds readout and linear_probe, of one root and scale.
    """
    read, probes = _of(records, "readout"), _of(records, "linear_probe")
    tasks = tasks_of(tasks_with(read, "_knn_top1") + tasks_with(read, "_zero_shot_top1"))
    columns = ["Method"]
    for task in tasks:
        title = task_title(records, task)
        columns += [
            f"{title}: zero-shot (%)",
            f"{title}: nearest neighbours (%)",
            f"{title}: linear probe (%)",
        ]
    rows = {
        method: [cell for task in tasks for cell in _readout_cells(read, probes, method, task)]
        for method in methods_of(read)
    }
    voters = agreed(read, lambda record: number(record.config, "neighbours"))
    caption = (
        "Top-1, below it top-5 and n. Nearest neighbours: the "
        f"{f'{shown(voters, 0)} ' if voters else ''}training images with "
        "the most similar features vote. Zero-shot: no image of the task is used. CLIP's text "
        "tower reads prompts with the "
        "class names; CatLIP takes those rows of its pre-training classifier that Transfer Init "
        "would start from, and never "
        "chooses a label without one. The linear probe alone trains something."
    )
    return _grouped(
        f"readouts{suffix}",
        f"What is read out without training, {scale} scale",
        columns,
        rows,
        caption,
    )


def _readout_cells(
    read: Sequence[Record], probes: Sequence[Record], method: str, task: str
) -> list[Cell]:
    own = [record for record in read if record.method == method]
    ways = {text(r.metrics, "zero_shot") for r in own} - {""}
    how = " and ".join(sorted(PROMPTS.get(way, clipped(way, 24)) for way in ways))
    return [
        _with_top5(read, method, f"{task}_zero_shot", how),
        _with_top5(read, method, f"{task}_knn"),
        _with_top5(probes, method, task),
    ]


def _with_top5(records: Sequence[Record], method: str, metric: str, how: str = "") -> Cell:
    """Top-1, and below it top-5, n, and how it was read out."""
    cell = accuracy_cell(records, method, f"{metric}_top1")
    if cell.quantity is None:
        return cell
    top5 = accuracy_cell(records, method, f"{metric}_top5").quantity
    words = [how, f"top-5 {shown(top5.mean, 1)}" if top5 else "", cell.small]
    return replace(cell, small=", ".join(word for word in words if word))


def _grouped(
    name: str, title: str, columns: Sequence[str], rows: dict[str, list[Cell]], caption: str
) -> list[Table]:
    """Rows that hold a number: ours first, then under headings those of encoders that were not
    trained here.
    """
    known = {
        method: cells for method, cells in rows.items() if any(cell.quantity for cell in cells)
    }
    body: list[list[Cell]] = [[method_cell(m), *cells] for m, cells in known.items() if is_ours(m)]
    for heading, belongs in ((ELSEWHERE, lambda m: not is_ceiling(m)), (CEILING, is_ceiling)):
        group = [
            [method_cell(m), *cells] for m, cells in known.items() if not is_ours(m) and belongs(m)
        ]
        body += [[Cell(heading)], *group] if group else []
    return [Table(name, title, columns, body, caption)] if body else []


def _of(records: Sequence[Record], kind: str) -> list[Record]:
    return [record for record in records if record.kind == kind]
