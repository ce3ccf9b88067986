"""The tables of docs/results.md, by the name that stands in the comment above each."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from bench.downstream.retrieval.result import CUTS, WAYS, Retrieval, retrieval_table
from bench.study.result import Finalist, Trial, group_by_trial, mean_score, tuned_alike
from catlip.records.run import Records, Run
from catlip.records.styles import distinct_name, name_of
from catlip.records.table import (
    MISSING,
    Cell,
    Table,
    as_markdown,
    escape_markdown,
    format_number,
    markdown_rows,
)
from reports.read.differences import (
    CONDITION,
    COST,
    DATA,
    DENSE_TASKS,
    ENCODER,
    FINETUNED,
    LENGTH,
    OTHERS,
    PROBE,
    UNTRAINED,
    Difference,
    longest,
)
from reports.read.setting import Setting, settings
from reports.summary.answers import (
    compared_tasks,
    data_of,
    length_of,
    speed_up_factors,
    with_ends,
)
from reports.summary.costs import cost_table
from reports.summary.drawers import leads_by_team, over_teams
from reports.summary.few_labels import FewLabels, few_labels
from reports.summary.forest import rows_of
from reports.summary.ladder import ladder_rows
from reports.summary.near_and_far import labels_that_are_classes
from reports.summary.tables import headline

BATCH, RECIPE = "batch=", "recipe="  # conditions with tables of their own
Trials = Mapping[str, Mapping[int, Sequence[Run[Trial]]]]  # method -> trial -> its runs
HEADINGS = {
    "lengths": (COST, LENGTH),
    "encoders": (ENCODER, DATA),
    "conditions": (CONDITION,),
    "dense": (FINETUNED, UNTRAINED, DENSE_TASKS),
}


def tables(records: Records) -> dict[str, Callable[[], list[str]]]:
    """Name of a table -> its lines of markdown."""
    every = [setting for setting in settings(records) if setting.is_answered]
    blocks: dict[str, Callable[[], list[str]]] = {
        name: partial(_differences, every, headings) for name, headings in HEADINGS.items()
    }
    return {
        **blocks,
        "batch": partial(_differences, every, (CONDITION,), _is_batch),
        "others": partial(_differences, every[1:], (OTHERS,)),
        "tasks": partial(_tasks, every),
        "labels": partial(_few_labels, every),
        "ladder": partial(_ladder, every[0]),
        "teams": partial(_teams, every[0]),
        "methods": partial(_methods, every[0]),
        "cost": partial(_costs, every),
        "retrieval": partial(_retrieval, every[0]),
        "speed-up": partial(_speed_up, records),
        "trials": partial(_trials, every),
    }


def _plain(table: Table) -> list[str]:
    """A table of the page without title, links and caption."""
    rows = [[replace(cell, anchor="") for cell in row] for row in table.rows]
    return as_markdown(replace(table, rows=rows, caption="")).splitlines()[2:]


def _tasks(every: Sequence[Setting]) -> list[str]:
    columns = ["Trained on", "Tested on", "Labels that are classes", "CatLIP (%)", "CLIP (%)"]
    columns += ["Difference (95 %)"]
    rows = []
    for setting in every:
        known, before = labels_that_are_classes(setting), ""
        for one in compared_tasks(setting):
            exact, count = known.get(one.task, (None, None))
            of = MISSING if count is None else f"{exact} of {count}"
            cells = [of, *(format_number(mean, 1) for mean in one.accuracies)]
            data = f"{data_of(setting)}, {length_of(setting, one)}"
            shown = "" if data == before else data
            rows.append([shown, setting.name(one.task), *cells, with_ends(one.estimate)])
            before = data
    return markdown_rows(columns, rows)


def _few_labels(every: Sequence[Setting]) -> list[str]:
    columns = ["Trained on", "Task", "Labels (%)", "Difference (points)"]
    columns += ["Gain of Transfer Init", "Gain of CLIP's names"]
    rows = []
    for setting in every:
        data = data_of(setting)
        for one in _fewest_and_all(few_labels(setting, setting.first_tasks)):
            estimates = (one.difference, one.transfer, one.names)
            cells = [with_ends(estimate) if estimate else MISSING for estimate in estimates]
            rows.append([data, setting.name(one.task), f"{100 * one.fraction:.3g}", *cells])
            data = ""
    return markdown_rows(columns, rows)


def _fewest_and_all(rows: Sequence[FewLabels]) -> list[FewLabels]:
    """Of each task's fractions the least, and 1."""
    least = {row.task: row.fraction for row in reversed(rows)}
    return [row for row in rows if row.fraction in (least[row.task], 1)]


def _methods(setting: Setting) -> list[str]:
    table = headline(setting)
    kept = [i for i, column in enumerate(table.columns) if not column.startswith("Training time")]
    columns = [table.columns[i] for i in kept]
    rows = [[row[i] for i in kept] for row in table.rows]
    return _plain(replace(table, columns=columns, rows=rows))


def _ladder(setting: Setting) -> list[str]:
    """A row for each change, a column for each task."""
    rows = ladder_rows(setting)
    tasks = dict.fromkeys(task for row in rows for task in row.of_task)
    columns = ["Change", *(setting.title(task) for task in tasks)]
    return markdown_rows(
        columns,
        [[row.name, *(with_ends(row.of_task[task].estimate) for task in tasks)] for row in rows],
    )


def _teams(setting: Setting) -> list[str]:
    """A row for each team of drawers, and their mean; a column for each task."""
    of_task = {task: leads_by_team(setting, task) for task in setting.first_tasks}
    teams = dict.fromkeys(team for leads in of_task.values() for team in leads)
    rows = []
    for team in sorted(teams):
        leads = [leads.get(team) for leads in of_task.values()]
        rows.append([team, *(with_ends(lead) if lead else MISSING for lead in leads)])
    means = [*map(over_teams, of_task.values())]
    rows.append(["all, over teams", *(with_ends(mean) if mean else MISSING for mean in means)])
    return markdown_rows(["Test drawings by", *map(setting.title, of_task)], rows)


def _is_batch(one: Difference) -> bool:
    return one.same.condition.startswith(BATCH)


def _is_other(one: Difference) -> bool:
    return not one.same.condition.startswith((BATCH, RECIPE))


def _differences(
    every: Sequence[Setting],
    headings: Sequence[str],
    keep: Callable[[Difference], bool] = _is_other,
) -> list[str]:
    """A table for each data set that has such experiments; under conditions, the longest. What is
    the same in every row is said above it: the number of seeds, and the usual other method.
    """
    lines = list[str]()
    for setting in every:
        found = [one for one in setting.differences if one.heading in headings and not one.part]
        found = [*filter(keep, found)]
        if LENGTH in headings:
            found = _with_own_trainings(setting, found)
        elif headings == HEADINGS["conditions"]:
            found = longest(found)
        if not found:
            continue
        over, seeds = "", _seeds(len(one.points) for one in found)
        [(usual, count)] = Counter(one.method for one in found).most_common(1)
        if usual != setting.clip:
            over = f", over {distinct_name(usual)}{' unless named' * (count < len(found))}"
            found = [replace(one, clip=usual) for one in found]
        lines += ["", f"Trained on {data_of(setting)}{over}{seeds}:", ""][not lines :]
        lines += _rows_of_tasks(setting, found, with_headings=len(headings) > 1)
    return lines


def _with_own_trainings(setting: Setting, found: Sequence[Difference]) -> list[Difference]:
    """The study's, and among them those of the setting's own trainings."""
    tasks = {one.task for one in found}
    own = [
        replace(one, heading=LENGTH, experiment="")
        for one in setting.differences
        if (one.heading, one.method, one.part) == (PROBE, setting.clip, "") and one.task in tasks
    ]
    both = [*found, *own]
    return sorted(both, key=lambda one: (HEADINGS["lengths"].index(one.heading), one.same.images))


def _rows_of_tasks(setting: Setting, found: Sequence[Difference], with_headings: bool) -> list[str]:
    """A row for each experiment and task; each number of seeds, if they differ."""
    columns = ["Experiment", "Tested on", "CatLIP (%)", "Other (%)", "Difference (95 %)"]
    columns += ["Seeds"] * (not _seeds(len(one.points) for one in found))
    rows = []
    for row in rows_of(found, found[0].same.images):
        name = escape_markdown(row.name)
        if with_headings and not row.of_task:
            rows.append([f"**{name}**", *[""] * (len(columns) - 1)])
        for task, one in row.of_task.items():
            means = [format_number(mean, 1) for mean in one.accuracies or ()]
            cells = [name, setting.title(task) if task else MISSING, *(means or [MISSING] * 2)]
            cells += [with_ends(one.estimate), str(len(one.points))]
            rows.append(cells[: len(columns)])
            name = ""
    return markdown_rows(columns, rows)


def _seeds(counts: Iterable[int | None]) -> str:
    """`, 6 seeds` if all have as many; otherwise empty."""
    each = {*counts}
    return f", {each.pop()} seeds" if len(each) == 1 else ""


def _retrieval(setting: Setting) -> list[str]:
    """A row for each method and direction; of one seed, which the text above names."""
    table = retrieval_table(setting.of(Retrieval))
    columns = ["Method", "Search", *(f"R@{cut} (%)" for cut in CUTS)]
    rows = list[list[Cell]]()
    for method, *cells in table.rows:
        if not cells:
            rows.append([method])
        name = replace(method, small="")
        for i, way in enumerate(WAYS.values() if cells else ()):
            of_way = cells[i * len(CUTS) : (i + 1) * len(CUTS)]
            rows.append([name, Cell(way), *(replace(cell, small="") for cell in of_way)])
            name = Cell("")
    return _plain(replace(table, columns=columns, rows=rows))


def _costs(every: Sequence[Setting]) -> list[str]:
    lines = list[str]()
    for setting in every:
        if table := cost_table(setting):
            lines += ["", f"Captions of {data_of(setting)}:", ""][not lines :]
            lines += _plain(table)
    return lines


def _speed_up(records: Records) -> list[str]:
    factors, _ = speed_up_factors(records)
    return markdown_rows([*factors], [[format_number(value, 2) for value in factors.values()]])


def _trials(every: Sequence[Setting]) -> list[str]:
    """Of each method's best trial: its recipe, and its accuracy on validation data, short and as
    long as in the end; once more for each further encoder and length.
    """
    columns = ["Trained on", "Method", "Best trial", "Batch, learning rate"]
    columns += ["Validation, short (%)", "Validation, full length (%)"]
    rows = []
    for setting in every:
        finals = tuned_alike(setting.of(Finalist))
        for i, ((encoder, _), tried) in enumerate(tuned_alike(setting.of(Trial)).items()):
            lengths = {n: alike for (name, n), alike in finals.items() if name == encoder}
            for k, (images, finalists) in enumerate(sorted((lengths or {0.0: []}).items())):
                data = data_of(setting) + (f", {encoder}" if i else "")
                data += f", {images:,.0f} images" if k else ""
                for row in _best_trials(group_by_trial(tried), group_by_trial(finalists)):
                    if row[-1] != MISSING or not k:
                        rows.append([data, *row])
                        data = ""
    return markdown_rows(columns, rows)


def _best_trials(tried: Trials, ended: Trials) -> Iterator[list[str]]:
    """By method: the number of its best trial, its recipe, and its accuracies."""
    for method, trials in tried.items():
        finalists = ended.get(method, {})
        judged = finalists or trials
        best = max(judged, key=lambda trial: mean_score(judged[trial]))
        recipe = trials[best][0].recipe
        chosen = f"{recipe['micro_batch']}, {format_number(recipe['max_lr'])}"
        short = format_number(100 * mean_score(trials[best]), 1)
        full = format_number(100 * mean_score(finalists[best]), 1) if finalists else MISSING
        yield [name_of(method), f"{best} of {len(trials)}", chosen, short, full]
