"""Accuracy on new tasks, one row for each method: linear probes and fine-tuning in Table 1's form
at the records' scale, and what is read out without training.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter

from bench.downstream.probe.result import (
    Finetune,
    LinearProbe,
    OnTasks,
    Readout,
    accuracy_cell,
    agreed,
    chance_of,
    method_cell,
    methods_of,
    task_title,
    tasks_of,
    tasks_with,
)
from catlip.method_style import is_ceiling, is_ours
from catlip.results.blocks import Block, Section, Text, to_fill
from catlip.results.run import Records, Run, Setting
from catlip.results.select import by_scale, suffix, unlike
from catlip.table import Cell, Table, listed, shown

ENCODER = "--encoder runs/starter/pretrain/catlip-seed0 --data starter:data/starter"
FRACTIONS = "--fraction 0.05 0.1 0.25 0.5 1 --init random transfer"
PROBE = f"python -m bench.downstream.linear_probe {ENCODER} {FRACTIONS}"
FINETUNE = f"python -m bench.downstream.finetune {ENCODER} {FRACTIONS}"
READOUT = f"python -m bench.downstream.readouts {ENCODER}"
CEILING = "Sanity ceilings: encoders that other people pre-trained"
ELSEWHERE = "Not trained here"


def section(main: Setting | None, records: Records, figures: Iterable[Block] = ()) -> Section:
    """What encoders are worth, for each scale.

    Args:
        figures: to show before the tables.
    """
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


def worth_table(records: Sequence[Run[OnTasks]], suffix: str = "") -> list[Table]:
    """Linear-probe (LP) and fine-tuned (FT) accuracy with all training data, one row for each
    method.

    Args:
        records: of kinds linear_probe and finetune, of one root and scale.
    """
    probes = [record for record in records if record.kind == LinearProbe.kind]
    tuned = [record for record in records if record.kind == Finetune.kind]
    tasks = tasks_of(tasks_with(probes) + tasks_with(tuned), records)
    titles = {task: task_title(records, task) for task in tasks}
    ways = {way: of for way, of in (("LP", probes), ("FT", tuned)) if of}
    columns = [
        "Method",
        *(f"{titles[task]}, {way} (%)" for task in tasks for way in ways),
    ]
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
        if (chance := chance_of([*probes, *tuned], task))
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
    """Accuracy without training a classifier, beside the linear probe's, one row for each method;
    the records are of one root and scale.
    """
    by_neighbours = tasks_with(readouts, lambda task: task.knn_top1)
    zero_shot = tasks_with(readouts, lambda task: task.zero_shot_top1)
    tasks = tasks_of(by_neighbours + zero_shot, [*readouts, *probes])
    columns = ["Method"]
    for task in tasks:
        title = task_title([*readouts, *probes], task)
        columns += [
            f"{title}: zero-shot (%)",
            f"{title}: nearest neighbours (%)",
            f"{title}: linear probe (%)",
        ]
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
                    top1 = replace(top1, small=", ".join(word for word in words if word))
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
    body: list[list[Cell]] = []
    others: dict[str, list[list[Cell]]] = {ELSEWHERE: [], CEILING: []}
    for method, cells in rows.items():
        if any(cell.quantity for cell in cells):
            heading = CEILING if is_ceiling(method) else ELSEWHERE
            group = body if is_ours(method) else others[heading]
            group.append([method_cell(method), *cells])
    for heading, group in others.items():
        if group:
            body += [[Cell(heading)], *group]
    return [Table(name, title, columns, rows=body, caption=caption)] if body else []
