"""The first figure: CatLIP - CLIP on every task, by the data that the encoders were trained on. Of
each data set, first the tasks most of whose labels are classes of its vocabulary.
"""

import textwrap
from collections.abc import Sequence
from functools import partial
from itertools import groupby

from bench.downstream.probe.result import LinearProbe
from bench.downstream.probe.sections import origins_of
from catlip.pretraining.result import Pretrain
from catlip.records.figures import Figure
from catlip.records.select import owner_in_words
from catlip.records.styles import distinct_name
from catlip.records.table import from_to
from reports.read.setting import Setting
from reports.summary.answers import Compared, compared_tasks, data_of, epochs_of
from reports.summary.forest import HEIGHT, ROW, Row, draw_rows, in_words

WIDTH = 43  # letters of a heading that fit into the figure


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
    """A group of rows for each setting and length of training, with its folder if that is not the
    first setting's.
    """
    rows = list[Row[Compared]]()
    for setting in settings:
        if not setting.of(Pretrain):
            continue
        data = owner_in_words(setting.root, settings[0].root) + data_of(setting)
        known = labels_that_are_classes(setting)
        shares = {task: exact / count for task, (exact, count) in known.items()}
        longest_first = sorted(compared_tasks(setting), key=lambda one: -one.images)
        for images, of_length in groupby(longest_first, lambda one: one.images):
            epochs = epochs_of(setting, images).replace(" ", "\N{NO-BREAK SPACE}")
            heading = ", ".join(filter(None, (data, epochs)))
            rows += [Row(line, {}) for line in textwrap.wrap(heading, WIDTH)]
            if setting.clip != settings[0].clip:
                rows.append(Row(f"over {distinct_name(setting.clip)}", {}))
            for one in sorted(of_length, key=lambda one: -shares.get(one.task, 0)):
                exact, count = known.get(one.task, (0, 0))
                name = setting.name(one.task)
                rows.append(Row(f"{name} ({exact} of {count})" if count else name, {"": one}))
            data = "the same"
    if not rows:
        return []
    counts = from_to((len(one.points) for row in rows for one in row.of_task.values()), decimals=0)
    seeds = f"{counts} seed{'s' * (counts != '1')}"
    caption = (
        f"CatLIP minus {distinct_name(settings[0].clip)}: linear probes, 95 % intervals, {seeds}. "
        "In brackets: labels among CatLIP's classes."
    )
    said = [f"{row.name} {in_words(row.of_task[''])}" for row in rows if row.of_task]
    unit = "CatLIP minus CLIP, points"
    draw = partial(draw_rows, rows=rows, titles={"": ""}, unit=unit, with_n=False)
    alt = f"Differences by data and task. {'; '.join(said)}."
    height = HEIGHT + ROW * len(rows)
    return [Figure("near_and_far", caption, alt, draw=draw, height=height, width=3.8)]
