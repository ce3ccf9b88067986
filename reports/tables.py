"""The tables of the page, of README and of docs/results.md that need more than one bench's records,
as data; and the list of all, in the order of the page.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from bench.plan.result import Analytic
from bench.step_time.result import PACKED, StepTime
from bench.study.result import LengthTraining, at_equal_cost, curves
from catlip.pretraining.result import Pretrain
from catlip.records.estimate import Estimate, geometric_mean_ratio, mean_difference
from catlip.records.kind import Interval
from catlip.records.run import Run
from catlip.records.styles import CATLIP, CLIPS, is_ours, name_of, ordered
from catlip.records.table import (
    NOTE,
    RECORDS,
    TIMES,
    Column,
    Row,
    Spec,
    clipped,
    quantity_of,
)
from reports.names import data_of, data_sets, is_committed, length_of, task_facts, task_name
from reports.pairs import (
    DIFFERENCES,
    KINDS,
    MEASURES,
    NAMES,
    RANDOM,
    STUDIES,
    TRANSFER,
    Comparisons,
    Experiment,
    Side,
    difference_rows,
)
from reports.paper.published import read_published

# --- Accuracy -------------------------------------------------------------------------------------


def first_rows(comparisons: Comparisons) -> Iterator[Row]:
    """Of each data set the first two tasks after its longest training."""
    for place in comparisons.settings:
        headline = [found for found in comparisons.headline if found.place == place]
        longest = [found for found in headline if found.on.images == headline[0].on.images]
        for row in difference_rows(longest[:2]):
            yield row | {"trained_on": row["data"] + length_of(row["epochs"])}


MAIN = Spec(
    "main",
    "CatLIP and CLIP after the longest training",
    "Top-1 accuracy in % of linear probes on frozen features, and CatLIP's minus CLIP's in points. "
    "CLIP has its better text tower. No test image was trained on or chosen by.",
    [
        Column("Trained on", "trained_on", head=True),
        Column("Tested on", "task"),
        Column("Untrained", "untrained", 1),
        Column("CLIP", "second_mean", 1),
        Column("CatLIP", "first_mean", 1),
        Column("CatLIP \N{MINUS SIGN} CLIP (95 %)", "difference", 1, plus=True),
    ],
    first_rows,
    "./run_all.sh",
)


def every_rows(comparisons: Comparisons) -> Iterator[Row]:
    """CatLIP minus its opponent in every experiment with all labels, then minus other methods by
    linear probes.
    """
    places = comparisons.settings
    cells = sorted(
        (on for on in comparisons.cells if on.fraction == 1 or on.kind in STUDIES),
        key=lambda on: (
            places.index((on.root, on.scale)),
            on.encoder != comparisons.encoder(on.root, on.scale),
            [*MEASURES].index(on.metric),
            KINDS.index(on.kind),
            on.images,
            on.task,
        ),
    )
    over_clip = comparisons.over_clip
    yield from difference_rows(over_clip[on] for on in cells if on in over_clip)
    for on in cells:
        methods = ordered(side.method for side in comparisons.cells[on] if side.start == RANDOM)
        for method in methods:
            if method not in (CATLIP, RANDOM, *CLIPS) and is_ours(method):
                found = comparisons.difference(on, Side(CATLIP), Side(method))
                yield from difference_rows([found] if found else [])


EVERY = replace(DIFFERENCES, rows=every_rows)


def equal_cost_rows(comparisons: Comparisons) -> Iterator[Row]:
    """At the cost of the cheaper of both longest trainings, interpolated between lengths."""
    for root, scale in comparisons.settings:
        found = curves(comparisons.of(root, scale, LengthTraining))
        by_method = {curve.method: curve for curve in found}
        clip = comparisons.opponent(root, scale, by_method)
        if CATLIP not in by_method or clip not in by_method:
            continue
        curve = by_method[CATLIP]
        timed = plainest_first(comparisons.of(root, scale, StepTime))
        same = [run for run in timed if run.config.model == curve.encoder]
        ratios = [one for run in same if (one := ratio_of(run, clip))]
        costs: dict[str, float | None] = {"FLOPs": None}
        costs |= {"seconds": ratios[0].value} if ratios else {}
        for what, times in costs.items():
            for task, points in at_equal_cost(curve, by_method[clip], times).items():
                yield {
                    "data": data_of(root, scale).name,
                    "cost": what,
                    "task": task_name(task),
                    "difference": mean_difference(points),
                    "seeds": len(points),
                }


EQUAL_COST = Spec(
    "equal_cost",
    "CatLIP minus CLIP at equal cost of training",
    "In points, with 95 % intervals over seeds and test images; seconds by the time of a step.",
    [
        Column("Trained on", "data", head=True),
        Column("Equal", "cost", head=True),
        Column("Tested on", "task"),
        Column("Difference", "difference", 1, plus=True),
        Column("Seeds", "seeds", 0),
    ],
    equal_cost_rows,
    "python -m bench.study lengths --shards data/starter/pretrain --labels-dir runs/starter/labels "
    "--vocabulary runs/starter/vocabulary.json --probe starter:data/starter",
)


TOP1 = "top1 "  # before a task, in the key of its accuracy
LEAST_SHARE = 5  # a training shorter than the longest by more is in the figure of lengths alone


def method_rows(comparisons: Comparisons) -> Iterator[Row]:
    """A row for each method after each of the longer trainings, with the accuracy on each task."""
    rows: dict[tuple[str, str, float, str], dict[str, Any]] = {}
    for on, sides in comparisons.cells.items():
        is_usual = on.encoder == comparisons.encoder(on.root, on.scale)
        is_probe = on.kind in ("linear_probe", *STUDIES) and on.metric == "top1"
        if not (is_usual and is_probe and on.fraction == 1):
            continue
        for side, cell in sides.items():
            if side.start == RANDOM and is_ours(side.method):
                images = 0 if side.method == RANDOM else on.images
                row = rows.setdefault(
                    (on.root, on.scale, images, side.method),
                    {
                        "data": data_of(on.root, on.scale).name,
                        "epochs": cell.epochs.max() if images else None,
                        "method": name_of(side.method),
                        RECORDS: (),
                    },
                )
                scores = comparisons.scores(on, side)
                row[TOP1 + on.task] = quantity_of(score.value for score in scores.values())
                row[RECORDS] = tuple(dict.fromkeys((*row[RECORDS], *cell.record)))
    methods = ordered(method for *_, method in rows)

    def order(key: tuple[str, str, float, str]) -> tuple[int, float, int]:
        root, scale, images, method = key
        return comparisons.settings.index((root, scale)), images, methods.index(method)

    longest = dict[tuple[str, str], float]()
    for root, scale, images, _ in rows:
        longest[root, scale] = max(longest.get((root, scale), 0), images)
    for key in sorted(rows, key=order):
        if not 0 < key[2] < longest[key[:2]] / LEAST_SHARE:
            yield rows[key]


def method_columns(rows: Sequence[Row]) -> list[Column]:
    accuracies = sorted({key for row in rows for key in row if key.startswith(TOP1)})
    return [
        Column("Trained on", "data", head=True),
        Column("Epochs", "epochs", head=True),
        Column("Method", "method"),
        *(Column(f"{task_name(key.removeprefix(TOP1))} (%)", key, 1) for key in accuracies),
    ]


METHODS = Spec(
    "methods",
    "All methods, after each length of training",
    "Linear probes with all labels: mean ± standard deviation over n seeds of pre-training.",
    method_columns,
    method_rows,
)


def few_rows(comparisons: Comparisons) -> Iterator[Row]:
    """Of each task of linear probes after the longest training, the fewest labels: CatLIP minus
    CLIP from random starts and from each method's own, and what its own start gains each.
    """
    cells = [
        on
        for on, sides in comparisons.cells.items()
        if (on.kind, on.metric) == ("linear_probe", "top1")
        and Side(CATLIP) in sides
        and any(Side(clip) in sides for clip in CLIPS)
    ]
    fewest: dict[tuple[str, str, str], Experiment] = {}
    for on in sorted(cells, key=lambda on: (-on.images, on.fraction)):
        fewest.setdefault((on.root, on.scale, on.task), on)
    for on in sorted(
        fewest.values(), key=lambda on: (comparisons.settings.index((on.root, on.scale)), on.task)
    ):
        clip = comparisons.opponent(
            on.root, on.scale, (side.method for side in comparisons.cells[on])
        )
        sides = {
            "difference": (Side(CATLIP), Side(clip)),
            "own": (Side(CATLIP, TRANSFER), Side(clip, NAMES)),
            "transfer": (Side(CATLIP, TRANSFER), Side(CATLIP)),
            "names": (Side(clip, NAMES), Side(clip)),
        }
        compared = {name: comparisons.difference(on, *pair) for name, pair in sides.items()}
        if compared["difference"] and any(compared[name] for name in ("transfer", "names")):
            yield {
                "data": data_of(on.root, on.scale).name,
                "task": task_name(on.task),
                "labels": on.fraction,
                **{name: found and found.estimate for name, found in compared.items()},
                RECORDS: compared["difference"].records,
            }


FEW_LABELS = Spec(
    "few_labels",
    "With few labels, and classifiers that start from what the method knows",
    "In points. CatLIP's classifier can start from its rows of the same nouns (Transfer Init), "
    "CLIP's from its embeddings of the class names. The second column compares these two.",
    [
        Column("Trained on", "data", head=True),
        Column("Tested on", "task", head=True),
        Column("Labels (%)", "labels", factor=100, head=True),
        Column("CatLIP \N{MINUS SIGN} CLIP, random starts", "difference", 1, plus=True),
        Column("CatLIP \N{MINUS SIGN} CLIP, from nouns or names", "own", 1, plus=True),
        Column("Gain of Transfer Init", "transfer", 1, plus=True),
        Column("Gain of CLIP's names", "names", 1, plus=True),
    ],
    few_rows,
    "python -m bench.downstream.linear_probe --encoder runs/starter/pretrain/catlip-seed0 --data "
    "starter:data/starter --fraction 0.05 0.1 0.25 0.5 1 --init random transfer",
)


# --- Cost -----------------------------------------------------------------------------------------


def plainest_first(timed: Sequence[Run[StepTime]]) -> list[Run[StepTime]]:
    """First the step times of CatLIP and CLIP in turns, on one device, not sharded, without a
    loader; among these, first those with CLIP's captions packed, then compiled ones, then the
    newest.
    """

    def rank(run: Run[StepTime]) -> tuple[bool | str, ...]:
        pairs, config = run.metrics.ratios, run.config
        return (
            any(f"{clip}/{CATLIP}" in pairs for clip in CLIPS),
            (run.metrics.world_size or 1) == 1,
            config.parallel != "fsdp",
            not config.data,
            any(PACKED in pair for pair in pairs),
            config.compile,
            run.environment.started,
            run.name,
        )

    return sorted(timed, key=rank, reverse=True)


def ratio_of(run: Run[StepTime], clip: str) -> Interval | None:
    """A method's step time over CatLIP's; None if it was not timed, or in too few rounds."""
    ratio = run.metrics.ratios.get(f"{clip}/{CATLIP}")
    return None if ratio is None or run.too_few else ratio


def seconds_of(runs: Sequence[Run[Pretrain]]) -> dict[tuple[str, int | None], float]:
    """(Method, seed) -> seconds an image of a training during which no other program was busy."""
    found = {}
    for run in runs:
        images = run.metrics.images_seen
        seconds = run.metrics.train_seconds / images if images else 0.0
        if not run.environment.is_busy and 0 < seconds < math.inf:
            found[run.method, run.seed] = seconds
    return found


def training_ratio(runs: Sequence[Run[Pretrain]], clip: str) -> Estimate | None:
    """The time of CLIP's whole trainings over CatLIP's, paired by seed."""
    seconds = seconds_of(runs)
    seeds = [seed for method, seed in seconds if method == CATLIP and (clip, seed) in seconds]
    return geometric_mean_ratio([seconds[clip, seed] / seconds[CATLIP, seed] for seed in seeds])


def cost_rows(comparisons: Comparisons) -> Iterator[Row]:
    """A row for each data set, device, encoder and CLIP: what it takes over CatLIP."""
    for root, scale in comparisons.settings:
        timed = comparisons.of(root, scale, StepTime)
        trained = comparisons.of(root, scale, Pretrain)
        seen = set[tuple[str, str]]()
        for run in plainest_first(timed):
            alike = (run.where, run.config.model)
            if alike in seen:
                continue
            seen.add(alike)
            same = [r for r in trained if (r.where, r.config.recipe.encoder) == alike]
            for clip in CLIPS:
                if f"{clip}/{CATLIP}" not in run.metrics.ratios:
                    continue
                costs = map(run.metrics.methods.get, (clip, CATLIP))
                sizes = [of_method.parameters for of_method in costs if of_method]
                yield {
                    "data": data_of(root, scale).name,
                    "device": run.where,
                    "on_cpu": run.is_cpu,
                    "model": clipped(run.config.model, 24),
                    "clip": TOWERS[clip],
                    "operations": run.metrics.flops_ratios.get(f"{clip}/{CATLIP}"),
                    "packed_operations": run.metrics.flops_ratios.get(f"{clip}{PACKED}/{CATLIP}")
                    if TOWERS[clip] == PADDED
                    else None,
                    "step": ratio_of(run, clip),
                    "packed": ratio_of(run, clip + PACKED) if TOWERS[clip] == PADDED else None,
                    "training": training_ratio(same, clip),
                    "parameters": sizes[0] / sizes[1] if len(sizes) == 2 and sizes[1] else None,
                    NOTE: "; ".join(filter(None, (run.too_few, *run.environment.doubts))),
                    RECORDS: (run.path,),
                }


PADDED = "transformer"
TOWERS = {"clip_bag": "bag of words", "clip": PADDED}
COSTS = Spec(
    "costs",
    "What CLIP takes over CatLIP",
    "By text tower: operations are counted; times are of steps in turns, at one batch, and of "
    "whole trainings, each with its method's batch. A bag of words has no padding to leave out.",
    [
        Column("Captions of", "data", head=True),
        Column("Device", "device", head=True),
        Column("Encoder", "model", head=True),
        Column("CLIP's text tower", "clip"),
        Column("Operations", "operations", 2, unit=TIMES),
        Column("No padding", "packed_operations", 2, unit=TIMES),
        Column("A step", "step", 2, unit=TIMES),
        Column("A step, no padding", "packed", 2, unit=TIMES),
        Column("A whole training", "training", 2, unit=TIMES),
        Column("Parameters", "parameters", 1, unit=TIMES),
    ],
    cost_rows,
    "python -m bench.step_time --model vit_b16",
)


def account_rows(comparisons: Comparisons) -> Iterator[Row]:
    """The paper's encoders: how much of the published ratio operations account for."""
    published = {cell.column: cell.value for cell in read_published("figure_1c").cells}
    for run in sorted(comparisons.records.of(Analytic), key=lambda run: run.name):
        name = ENCODERS_OF_PAPER.get(run.config.model)
        if name and "clip/catlip" in run.metrics.flops_ratios:
            hours = published[f"CatLIP, {name}: relative pre-training time (GPU hours)"]
            yield {
                "encoder": name,
                "operations": run.metrics.flops_ratios["clip/catlip"],
                "sizes": run.metrics.flops_ratio_with_own_sizes,
                "published": 1 / float(hours),
                RECORDS: (run.path,),
            }


ENCODERS_OF_PAPER = {"vit_b16": "ViT B/16", "vit_h16": "ViT H/16"}
ACCOUNT = Spec(
    "account",
    "How much of the published ratio operations account for",
    "CLIP with a transformer over CatLIP. Each cause that the paper names shrinks as the encoder "
    "grows; the published ratio does not.",
    [
        Column("Encoder", "encoder"),
        Column("Operations of an image", "operations", 2, unit=TIMES),
        Column("With the image sizes of each release", "sizes", 2, unit=TIMES),
        Column("GPU-hours, published", "published", 1, unit=TIMES),
    ],
    account_rows,
    "python -m bench.plan --model vit_b16 vit_h16",
)


# --- What was trained on, and tested on -----------------------------------------------------------


def data_rows(comparisons: Comparisons) -> Iterator[Row]:
    there = {scale for root, scale in comparisons.settings if is_committed(root)}
    for data in data_sets().values():
        if data.scale in there:
            yield vars(data)


DATA = Spec(
    "data",
    "What the encoders were trained on",
    "All photographs and drawings have 96 pixels a side, and are trained on and tested at 48.",
    [
        Column("Data", "name"),
        Column("What it is", "set"),
        Column("Where", "where"),
        Column("Licence", "licence"),
        Column("Images", "images"),
        Column("Captions", "captions"),
        Column("Trained on", "trained_on"),
        Column("Command", "command"),
    ],
    data_rows,
)


NAMED_BY = "named by "  # before a data set, in the key of how many labels its captions name


def task_rows(comparisons: Comparisons) -> Iterator[Row]:
    tested = {found.on.task for found in comparisons.headline}
    for task, facts in task_facts().items():
        if task in tested:
            row = facts.copy()
            for root, scale in comparisons.settings:
                counts = comparisons.labels_that_are_classes.get((root, scale, task))
                if counts:
                    row[NAMED_BY + data_of(root, scale).short] = "{} of {}".format(*counts)
            yield row


def task_columns(rows: Sequence[Row]) -> list[Column]:
    counts = dict.fromkeys(key for row in rows for key in row if key.startswith(NAMED_BY))
    return [
        Column("Task", "title"),
        Column("What it is", "set"),
        Column("Trained on", "train"),
        Column("Tested on", "test"),
        *(Column(f"Labels that {key.removeprefix(NAMED_BY)} name", key) for key in counts),
    ]


TASKS = Spec(
    "tasks",
    "What the encoders were tested on",
    "Labels that are classes of the vocabulary that CatLIP learns from each data set.",
    task_columns,
    task_rows,
)


def problem_rows(comparisons: Comparisons) -> Iterator[Row]:
    for problem in comparisons.records.problems:
        yield {"path": problem.path, "reason": problem.reason}


LEFT_OUT = Spec(
    "left_out",
    "Files that were left out",
    "What is not a whole record, and why.",
    [Column("File", "path"), Column("Why", "reason")],
    problem_rows,
)
