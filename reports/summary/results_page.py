"""The tables of docs/results.md, by the name that stands in the comment above each."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from bench.downstream.probe.result import LinearProbe, task_title
from bench.downstream.retrieval.result import Retrieval, retrieval_table
from bench.study.result import Finalist, Trial, group_by_trial, mean_score
from catlip.records.run import Records
from catlip.records.styles import name_of
from catlip.records.table import Cell, Table, escape_markdown, format_number, mean_and_spread
from reports.read.differences import (
    CONDITION,
    COST,
    DATA,
    DENSE_TASKS,
    ENCODER,
    LENGTH,
    UNTRAINED,
    Difference,
)
from reports.read.setting import Setting, settings
from reports.summary.answers import compared_tasks, data_of, speed_up_factors, with_ends
from reports.summary.costs import cost_table
from reports.summary.few_labels import FewLabels, few_labels
from reports.summary.forest import forest_table
from reports.summary.near_and_far import labels_that_are_classes
from reports.summary.tables import headline

HEADINGS = {
    "lengths": (COST, LENGTH),
    "encoders": (ENCODER, DATA),
    "conditions": (CONDITION,),
    "dense": (UNTRAINED, DENSE_TASKS),
}


def tables(records: Records) -> dict[str, Callable[[], list[str]]]:
    """Name of a table -> its lines of markdown."""
    every = [setting for setting in settings(records) if setting.is_answered]
    blocks: dict[str, Callable[[], list[str]]] = {
        name: partial(_differences, every, headings) for name, headings in HEADINGS.items()
    }
    return {
        **blocks,
        "tasks": partial(_tasks, every),
        "labels": partial(_few_labels, every),
        "methods": partial(_methods, every[0]),
        "cost": partial(_costs, every),
        "retrieval": lambda: _plain(retrieval_table(every[0].of(Retrieval))),
        "speed-up": partial(_speed_up, records),
        "trials": partial(_trials, every),
    }


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    grid = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cells)} |" for cells in grid]


def _plain(table: Table) -> list[str]:
    """A table of the page without its links."""
    rows = []
    for row in table.rows:
        marks = ["".join(f" [{i}]" for i in table.marks(cell)) for cell in row]
        cells = [escape_markdown(cell.full) + mark for cell, mark in zip(row, marks, strict=True)]
        rows.append(cells + [""] * (len(table.columns) - len(row)))
    lines = markdown_table(table.columns, rows)
    return lines + [f"\n[{i}] {note}" for i, note in enumerate(table.footnotes, 1)]


def _tasks(every: Sequence[Setting]) -> list[str]:
    columns = ["Trained on", "Tested on", "Labels that are classes", "CatLIP (%)", "CLIP (%)"]
    columns += ["Difference (95 %)", "Seeds"]
    rows = []
    for setting in every:
        known, data = labels_that_are_classes(setting), data_of(setting)
        for one in compared_tasks(setting):
            exact, count = known.get(one.task, (None, None))
            of = Cell().text if count is None else f"{exact} of {count}"
            means = [setting.accuracy(method, one.task) for method in setting.pair]
            cells = [mean_and_spread(mean, 1) if mean else Cell().text for mean in means]
            difference = [with_ends(one.difference), str(one.difference.pairs)]
            rows.append([data, setting.name(one.task), of, *cells, *difference])
            data = ""
    return markdown_table(columns, rows)


def _few_labels(every: Sequence[Setting]) -> list[str]:
    columns = ["Trained on", "Task", "Labels (%)", "Difference (points)"]
    columns += ["Gain of Transfer Init", "Gain of CLIP's names"]
    rows = []
    for setting in every:
        data = data_of(setting)
        for one in _fewest_and_all(few_labels(setting, setting.first_tasks)):
            estimates = (one.difference, one.transfer, one.names)
            cells = [with_ends(estimate) if estimate else Cell().text for estimate in estimates]
            rows.append([data, setting.name(one.task), f"{100 * one.fraction:.3g}", *cells])
            data = ""
    return markdown_table(columns, rows)


def _fewest_and_all(rows: Sequence[FewLabels]) -> list[FewLabels]:
    """Of each task's fractions the least, and 1."""
    least = {row.task: row.fraction for row in reversed(rows)}
    return [row for row in rows if row.fraction in (least[row.task], 1)]


def _methods(setting: Setting) -> list[str]:
    table = headline(setting)
    kept = [i for i, column in enumerate(table.columns) if not column.startswith("Training time")]
    columns = [table.columns[i] for i in kept]
    rows = [[row[i] for i in kept] for row in table.rows]
    return _plain(Table(table.name, table.title, columns, rows))


def _differences(every: Sequence[Setting], headings: Sequence[str]) -> list[str]:
    """A table for each data set that has such experiments; of those of a part of the data or under
    a condition, the longest trainings.
    """
    lines = list[str]()
    for setting in every:
        found = [one for one in setting.differences if one.heading in headings and not one.part]
        if headings == HEADINGS["conditions"]:
            longest = max((one.same.images for one in found), default=0)
            found = [one for one in found if one.same.images == longest and one.name]
        if found:
            tasks = dict.fromkeys(one.task for one in found)
            titles = {task: _title(setting, task) for task in tasks}
            table = forest_table("", found, titles, setting.records)
            lines += ["", f"Trained on {data_of(setting)}:", ""][not lines :]
            lines += _plain(_without_headings(table, found))
    return lines


def _title(setting: Setting, task: str) -> str:
    return task_title(setting.of(LinearProbe), task) if task else "Measure of each row"


def _without_headings(table: Table, found: Sequence[Difference]) -> Table:
    """Headings stay where there are several."""
    several = len({one.heading for one in found}) > 1
    rows = [row for row in table.rows if several or len(row) > 1]
    return Table(table.name, table.title, table.columns, rows)


def _costs(every: Sequence[Setting]) -> list[str]:
    lines = list[str]()
    for setting in every:
        if table := cost_table(setting):
            lines += ["", f"Captions of {data_of(setting)}:", ""][not lines :]
            lines += _plain(table)
    return lines


def _speed_up(records: Records) -> list[str]:
    factors, _ = speed_up_factors(records)
    return markdown_table([*factors], [[format_number(value, 2) for value in factors.values()]])


def _trials(every: Sequence[Setting]) -> list[str]:
    """Of each method's best trial: its recipe, and its accuracy on validation data, short and as
    long as in the end.
    """
    columns = ["Trained on", "Method", "Trials", "Best", "Validation, short (%)"]
    columns += ["Validation, full length (%)", "Batch", "Learning rate"]
    rows = []
    for setting in every:
        finalists, data = group_by_trial(setting.of(Finalist)), data_of(setting)
        for method, trials in group_by_trial(setting.of(Trial)).items():
            ended = finalists.get(method, {})
            best = max(ended or trials, key=lambda trial: mean_score((ended or trials)[trial]))
            recipe = trials[best][0].recipe
            full = f"{format_number(100 * mean_score(ended[best]), 1)}" if ended else Cell().text
            short = format_number(100 * mean_score(trials[best]), 1)
            cells = [str(len(trials)), str(best), short, full, str(recipe["micro_batch"])]
            rows.append([data, name_of(method), *cells, format_number(recipe["max_lr"])])
            data = ""
    return markdown_table(columns, rows)
