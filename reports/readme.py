"""`python -m reports readme`: the results in README.md, from the same records as the page."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from catlip.cli import InputError
from catlip.records.estimate import Estimate
from catlip.records.run import Records
from catlip.records.styles import distinct_name
from catlip.records.table import signed
from reports.pairs import pair_up
from reports.read.differences import LABELS, OTHERS, Difference, sign
from reports.read.records import read_records
from reports.read.setting import Setting, settings
from reports.results import frame_of, nested, with_scores
from reports.summary import doubts
from reports.summary.answers import about, advice, as_good, cheaper, on_tasks, why
from reports.summary.tables import headline

if TYPE_CHECKING:
    import pandas as pd

BEGIN = "<!-- Written by `python -m reports readme`: -->"
END = "<!-- until here. -->"
README, RECORDS = Path("README.md"), Path("reports/records")
STARTS = (
    ("transfer", "Transfer Init"),
    ("names", "CLIP's classifier from its embeddings of the names"),
)
WIDTH = 130  # characters of a line
EN_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Readme:
    """Write the results of the committed records into README.md.

    python -m reports readme
    """


def write_readme(config: Readme) -> None:
    before, inside, after = parts(README.read_text(encoding="utf-8"))
    written = results(read_records([RECORDS]))
    README.write_text(before + written + after, encoding="utf-8")
    print(f"{README}: {'as before' if written == inside else 'written again'}")


def parts(text: str) -> tuple[str, str, str]:
    """What stands before, between and after the two comments."""
    if BEGIN not in text or END not in text:
        raise InputError(f"the file lacks the comments {BEGIN} and {END}")
    before, _, rest = text.partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before + BEGIN, inside, END + after


def results(records: Records) -> str:
    """A table of the methods, the three answers, what makes the difference, and what could make
    all of it wrong.
    """
    every = settings(records)
    main = next(setting for setting in every if setting.is_answered)
    table = headline(main)
    kept = [i for i, column in enumerate(table.columns) if "top-1" in column or "Step" in column]
    rows = [[row[i] for i in (0, *kept)] for row in table.rows]
    grid = [[table.columns[i] for i in (0, *kept)], *([cell.full for cell in row] for row in rows)]
    grid.insert(1, ["---"] * len(grid[0]))
    lines = [f"| {' | '.join(cells)} |" for cells in grid]
    answers = [as_good(main), cheaper(main, every), why(main, records)]
    points = [f"**{one.question}** {one.short} {' '.join(one.sentences)}" for one in answers]
    points += [text for text in (_ingredients(main), _few_labels(main, frame_of(records))) if text]
    wrong = doubts.doubts(main, every)
    points += [f"**{doubts.title(main)}**"] * bool(wrong)
    listed = [_bullet(point) for point in points] + [_bullet(doubt, 2) for doubt in wrong]
    listed += [_bullet(words)] if (words := advice(main)) else []
    return "\n" + "\n".join([textwrap.fill(about(main), WIDTH), "", *lines, "", *listed]) + "\n"


def _bullet(words: str, indent: int = 0) -> str:
    space = " " * indent
    return textwrap.fill(words, WIDTH, initial_indent=f"{space}- ", subsequent_indent=f"{space}  ")


def _ingredients(setting: Setting) -> str:
    """CatLIP minus each other method, on the tasks of the first screen; last, the methods whose
    intervals all contain 0.
    """
    by_method: dict[str, list[Difference]] = {}
    for one in setting.differences:
        if one.heading == OTHERS and one.same.metric == "top1":
            by_method.setdefault(one.method, []).append(one)
    words, unclear = list[str](), list[str]()
    for method, differences in by_method.items():
        is_clear = any(sign(one.estimate) for one in differences)
        points = f"{distinct_name(method)} {on_tasks(setting, differences, brief=is_clear)}"
        (words if is_clear else unclear).append(points)
    words += [f"no difference can be told: {'; '.join(unclear)}"] * bool(unclear)
    tasks = " / ".join(map(setting.name, setting.first_tasks))
    return f"**CatLIP minus other methods, {tasks}:** {'; '.join(words)}." if words else ""


def _few_labels(setting: Setting, frame: "pd.DataFrame") -> str:
    """With the fewest images: CatLIP minus CLIP, and what classifiers gain where they start from
    CatLIP's rows, or from CLIP's embeddings of the names.
    """
    probes = frame[(frame.kind == "linear_probe") & (frame.metric == "top1")]
    probes = probes[probes.probe_seed.notna()]
    tasks = setting.first_tasks
    lines = {"CatLIP minus CLIP": [_with_fewest(setting, task) for task in tasks]}
    for start, what in STARTS:
        rows = probes[probes.method == setting.pair[start == "names"]]
        lines[f"gain of {what}"] = [_gain(setting, rows, task, start) for task in tasks]
    kept = [i for i in range(len(tasks)) if any(estimates[i] for estimates in lines.values())]
    words = []
    for what, estimates in lines.items():
        points = [signed(one.value, 1) if one else EN_DASH for one in (estimates[i] for i in kept)]
        words += [f"{what} {' / '.join(points)}"] if any(estimates) else []
    names = " / ".join(setting.name(tasks[i]) for i in kept)
    return f"**With the fewest labels, {names}:** {'; '.join(words)}." if words else ""


def _with_fewest(setting: Setting, task: str) -> Estimate | None:
    """CatLIP minus CLIP, with classifiers that start at random."""
    differences = [
        one
        for one in setting.differences
        if (one.heading, one.same.task, one.method) == (LABELS, task, setting.clip)
    ]
    fewest = min(differences, key=lambda one: one.same.fraction, default=None)
    return fewest.estimate if fewest else None


def _gain(setting: Setting, rows: "pd.DataFrame", task: str, start: str) -> Estimate | None:
    """The gain over a random start, with the fewest images that both have, unless these are all."""
    runs = {run.path: run for run in setting.records}
    rows = rows[rows.init.isin([start, "random"]) & (rows.fraction < 1)]
    rows = rows[rows.record.isin(runs) & (rows.task == task)]
    scores = nested(with_scores(rows, runs), "fraction", "seed", "init")
    for _, seeds in sorted(scores.items()):
        by_start = (
            {s: by[init] for s, by in seeds.items() if init in by} for init in (start, "random")
        )
        if pairs := pair_up(*by_start):
            return pairs.difference()
    return None
