"""The first figure: CatLIP - CLIP on every task, by the data that the encoders were trained on. Of
each data set, first the tasks most of whose labels are classes of its vocabulary.
"""

import textwrap
from collections.abc import Sequence
from functools import partial

from bench.downstream.probe.result import LinearProbe
from bench.downstream.probe.sections import origins_of
from catlip.pretraining.result import Pretrain
from catlip.records.figures import Figure
from catlip.records.select import owner_in_words
from catlip.records.styles import distinct_name
from reports.read.differences import PROBE, Difference
from reports.read.setting import Setting
from reports.summary.answers import data_of
from reports.summary.forest import HEIGHT, ROW, Row, draw_rows, in_words

WIDTH = 42  # letters of a heading that fit into the figure


def labels_that_are_classes(setting: Setting) -> dict[str, tuple[int, int]]:
    """Task -> how many of its labels are classes of the captions' vocabulary, and how many it
    has; of tasks that CatLIP was probed on with Transfer Init.
    """
    origins = origins_of(setting.of(LinearProbe))
    return {
        task: (sum(row.kind == "exact" for row in rows), len(rows))
        for task, (_, rows) in origins.items()
    }


def near_and_far(settings: Sequence[Setting]) -> list[Figure]:
    """A group of rows for each setting, with its folder if that is not the first setting's."""
    rows = list[Row]()
    for setting in settings:
        trained = setting.of(Pretrain)
        of_tasks = [one for one in setting.differences if _is_whole_task(setting, one)]
        if not trained or not of_tasks:
            continue
        of = owner_in_words(setting.root, settings[0].root)
        seeds = max(len(one.points) for one in of_tasks)
        words = f"{of}{data_of(setting)}, {seeds}\N{NO-BREAK SPACE}seed{'s' * (seeds != 1)}"
        rows += [Row(line, {}) for line in textwrap.wrap(words, WIDTH)]
        if setting.clip != settings[0].clip:
            rows.append(Row(f"over {distinct_name(setting.clip)}", {}))
        known = labels_that_are_classes(setting)
        shares = {task: exact / count for task, (exact, count) in known.items()}
        for one in sorted(of_tasks, key=lambda one: -shares.get(one.task, 0)):
            exact, count = known.get(one.task, (0, 0))
            name = setting.name(one.task)
            rows.append(Row(f"{name} ({exact} of {count})" if count else name, {"": one}))
    if not rows:
        return []
    caption = (
        f"CatLIP minus {distinct_name(settings[0].clip)}, by training images: linear "
        "probes, 95 % intervals. In brackets: labels that are CatLIP's classes."
    )
    said = [f"{row.name} {in_words(row.of_task[''])}" for row in rows if row.of_task]
    unit = "CatLIP minus CLIP, points"
    draw = partial(draw_rows, rows=rows, titles={"": ""}, unit=unit, with_n=False)
    alt = f"Differences by data and task. {'; '.join(said)}."
    height = HEIGHT + ROW * len(rows)
    return [Figure("near_and_far", caption, alt, draw=draw, height=height, width=3.8)]


def _is_whole_task(setting: Setting, one: Difference) -> bool:
    return (one.heading, one.method, one.same.metric, one.part) == (PROBE, setting.clip, "top1", "")
