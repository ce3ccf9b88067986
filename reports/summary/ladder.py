"""Why: from CLIP to CatLIP by one change at a time, all trained by CatLIP's recipe."""

from functools import partial
from itertools import pairwise

from bench.downstream.probe.result import TASK_PART_SEPARATOR, LinearProbe, task_title
from bench.study.result import LABELLED, NONE, ConditionTraining
from catlip.records.blocks import Section, command_to_fill, side_by_side
from catlip.records.figures import Figure
from catlip.records.run import Records, Run
from catlip.records.select import saw_as_many_images
from catlip.records.styles import CATLIP, name_of
from reports.pairs import Experiment, pair_up, scores_of
from reports.read.differences import Difference
from reports.read.setting import Setting
from reports.results import frame_of
from reports.summary.forest import HEIGHT, ROW, Row, draw_rows, in_words

STEPS = {  # method -> what it changes in the one before it
    "clip": "",
    "clip_bag": "captions as bags of words, not a transformer",
    "clip_nouns": "nouns, not all words",
    "batch_nouns": "each noun alone, not a caption's mean",
    "catlip_softmax": "all classes, not those of the batch",
    CATLIP: "binary loss, not softmax",
}
RECIPE = f"recipe={CATLIP}"
WHOLE = "all five"
MISSING = "The steps between CLIP and CatLIP were not all trained by one recipe."
LADDER = (
    f"python -m bench.study conditions {LABELLED} --probe starter:data/starter "
    f"--conditions none {RECIPE} --methods {' '.join(STEPS)} --images 139264 --seeds 0 1 2 3 4 5"
)


def ladder_rows(setting: Setting) -> list[Row]:
    """For each change, what it adds on each task, and last what all add; nothing unless every
    method was trained on as many images.
    """
    trained = [run for run in setting.of(ConditionTraining) if _is_step(run)]
    images = max((run.metrics.images_seen for run in trained), default=0)
    runs = {run.path: run for run in trained if saw_as_many_images(run.metrics.images_seen, images)}
    frame = frame_of(Records((), tuple(runs.values()), ()))
    if {run.method for run in runs.values()} != STEPS.keys():
        return []
    tasks = [task for task in frame.task.dropna().unique() if TASK_PART_SEPARATOR not in task]
    rows = {what: dict[str, Difference]() for what in [*STEPS.values(), WHOLE] if what}
    for task in tasks:
        of_task = frame[(frame.task == task) & (frame.metric == "top1")]
        scores = {method: scores_of(of_task[of_task.method == method], runs) for method in STEPS}
        steps = [(before, after, STEPS[after]) for before, after in pairwise(STEPS)]
        for before, after, what in [*steps, ("clip", CATLIP, WHOLE)]:
            pairs = pair_up(scores[after], scores[before])
            if estimate := pairs.difference():
                same = Experiment("robustness", "top1", "", images, 1, RECIPE, task)
                rows[what][task] = Difference(
                    "", what, same, before, before, points=pairs.values, estimate=estimate
                )
    return [Row(what, of_task) for what, of_task in rows.items()]


def ladder(setting: Setting) -> list[Figure]:
    """A panel for each task, a row for each change."""
    drawn = ladder_rows(setting)
    if not drawn:
        return []
    tasks = dict.fromkeys(task for row in drawn for task in row.of_task)
    titles = {task: task_title(setting.of(LinearProbe), task) for task in tasks}
    said = [
        f"{row.name}: " + ", ".join(f"{task} {in_words(one)}" for task, one in row.of_task.items())
        for row in drawn
    ]
    caption = (
        f"What each change from {name_of('clip')} to {name_of(CATLIP)} adds to the one before, in "
        "points. Every method is trained by CatLIP's recipe."
    )
    return [
        Figure(
            "ladder",
            caption,
            f"Differences of each method from the one before it. {'; '.join(said)}.",
            draw=partial(draw_rows, rows=drawn, titles=titles),
            height=HEIGHT + ROW * len(drawn),
            width=4.6 + 2.4 * (len(titles) - 1),
        )
    ]


def ladder_section(main: Setting | None) -> Section:
    figures = side_by_side(ladder(main) if main else [])
    return Section(
        "ladder", "From CLIP to CatLIP, step by step", figures or command_to_fill(MISSING, LADDER)
    )


def _is_step(run: Run[ConditionTraining]) -> bool:
    """Whether it was trained by CatLIP's recipe on the captions as they are."""
    condition = NONE if run.method == CATLIP else RECIPE
    return run.method in STEPS and run.metrics.condition == condition
