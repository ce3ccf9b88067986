"""`python -m reports readme`: the results in README.md, from the same records as the page."""

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from catlip.records.estimate import BETTER, CANNOT_TELL, NOT_WORSE, WORSE
from catlip.records.figures import render
from catlip.records.run import Records
from catlip.records.select import images_of
from catlip.records.table import format_number, from_to, listed, markdown_rows, signed
from reports.read.differences import Difference
from reports.read.records import read_records
from reports.read.setting import Setting, settings
from reports.summary.answers import (
    about,
    advice,
    after_epochs,
    compared_tasks,
    data_of,
    epochs_of,
    longer_and_shorter,
    over_encoders_and_lengths,
    over_other_teams,
    turned,
    under_conditions,
    why,
    with_ends,
)
from reports.summary.costs import cheaper
from reports.summary.few_labels import few_labels
from reports.summary.ladder import ladder_rows
from reports.summary.near_and_far import near_and_far
from reports.summary.results_page import tables

BLOCK = re.compile(
    r"(<!-- Written by `python -m reports readme`: (\S+) -->\n).*?(<!-- until here)", re.S
)
README, RESULTS, RECORDS = Path("README.md"), Path("docs/results.md"), Path("reports/records")
OUTCOMES = {
    BETTER: "better in",
    WORSE: "worse in",
    NOT_WORSE: "not worse in",
}
WIDTH = 100  # characters of a line
MAX_TASKS = 2  # of each data set


@dataclass(frozen=True)
class Readme:
    """Write the results of the committed records into README.md and docs/results.md, and their
    figure.

    python -m reports readme
    """


def write_readme(config: Readme) -> None:
    records = read_records([RECORDS])
    for path in (README, RESULTS):
        before = path.read_text(encoding="utf-8")
        after = filled(before, records)
        path.write_text(after, encoding="utf-8")
        print(f"{path}: {'as before' if before == after else 'written again'}")
    every = [setting for setting in settings(records) if setting.is_answered]
    for figure in near_and_far(every):
        path = RECORDS.parent / f"{figure.name}.png"
        path.write_bytes(render(figure).png)
        print(f"{path}: written")


def filled(text: str, records: Records) -> str:
    """The text with what the records say between its comments."""
    blocks: dict[str, Callable[[], list[str]]] = tables(records)
    blocks["answer"] = partial(answer, records)

    def block(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        return "\n".join([begin, *blocks[name](), "", end])

    return BLOCK.sub(block, text)


def answer(records: Records) -> list[str]:
    """What was tested, a table of each data set's first tasks, and an answer to each question."""
    every = [setting for setting in settings(records) if setting.is_answered]
    main, others = every[0], every[1:]
    points = [
        f"**As good?** {_as_good(every)}{elsewhere(every)}",
        _ladder(main),
        f"**Cheaper?** {cheaper(main, others).short} {why(main, records).short}",
        _few_labels(main),
        advice(main, others),
    ]
    text = textwrap.fill(about(main, others), WIDTH)
    bullets = [_bullet(point.strip()) for point in points if point]
    return [text, "", *_table(every), "", *bullets]


def _table(every: Sequence[Setting]) -> list[str]:
    rows, counts = [], list[int]()
    for setting in every:
        before = ""
        for one in compared_tasks(setting)[:MAX_TASKS]:
            counts.append(len(one.points))
            data = ", ".join(filter(None, (data_of(setting), epochs_of(setting, one.images))))
            cells = [format_number(mean, 1) for mean in one.accuracies]
            shown = "" if data == before else data
            rows.append([shown, setting.title(one.task), *cells, with_ends(one.estimate)])
            before = data
    difference = f"Difference (95 %, {from_to(counts, 0)} seeds)"
    columns = ["Trained on", "Tested on", "CatLIP (%)", "CLIP (%)", difference]
    return markdown_rows(columns, rows)


def _bullet(words: str) -> str:
    return textwrap.fill(words, WIDTH, initial_indent="- ", subsequent_indent="  ")


def _as_good(every: Sequence[Setting]) -> str:
    """How many of all tasks have which verdict."""
    words = [one.word for setting in every for one in compared_tasks(setting)]
    counts = [
        f"{outcome} {words.count(word)}" for word, outcome in OUTCOMES.items() if word in words
    ]
    counts += ["else undecided"] * (CANNOT_TELL in words)
    return f"Of {len(words)} comparisons CatLIP is {listed(counts)}."


def elsewhere(every: Sequence[Setting]) -> str:
    """The least lead on the first data with other lengths and encoders, with other batches and with
    other drawers to test on; then that on other data after shorter trainings with another verdict.
    """
    setting, *others = every
    batches = [one for found in under_conditions(setting, "batch").values() for one in found]
    least = [
        f"{_least(found)} over {what}"
        for found, what in (
            (over_encoders_and_lengths(setting), "encoders and lengths"),
            (batches, "batches"),
        )
        if found
    ]
    words = [f"from {', '.join(least)}"] if least else []
    if teams := over_other_teams(setting):
        words.append(teams)
    where = images_of(setting.root, setting.scale)
    clauses = [f"On {where} {', '.join(words)}"] if words else []
    for other in others:
        if shorter := after_epochs(other, turned(other)[1]):
            clauses.append(f"on {images_of(other.root, other.scale)} {shorter}")
    return f" {'; '.join(clauses)}." if clauses else ""


def _least(found: Sequence[Difference]) -> str:
    return signed(min(one.estimate.value for one in found), 1)


def _ladder(setting: Setting) -> str:
    """What each change from CLIP to CatLIP adds on the first task."""
    task = setting.first_tasks[0]
    words = [
        f"{row.name.partition(',')[0]} {signed(row.of_task[task].estimate.value, 1)}"
        for row in ladder_rows(setting)[:-1]
    ]
    shorter = longer_and_shorter(setting)[1]
    after = f" after {epochs_of(setting, shorter[0].images)}" if shorter else ""
    start = f"**Why?** CLIP to CatLIP on {setting.name(task)}{after}"
    return f"{start}: {'; '.join(words)}." if words else ""


def _few_labels(setting: Setting) -> str:
    """With the fewest labels of the first task."""
    task = setting.first_tasks[0]
    fewest = next((one for one in few_labels(setting, [task]) if one.fraction < 1), None)
    if fewest is None:
        return ""
    words = [
        f"{what} {signed(estimate.value, 1)}"
        for what, estimate in (
            ("CatLIP minus CLIP", fewest.difference),
            ("Transfer Init gains CatLIP", fewest.transfer),
            ("class names CLIP", fewest.names),
        )
        if estimate
    ]
    labels = f"{100 * fewest.fraction:.3g} % of {setting.name(task)}' labels"
    return f"**Few labels?** With {labels}: {'; '.join(words)}."
