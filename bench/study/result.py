"""Results of the studies of tuning, conditions and thresholds (of lengths: lengths_result.py)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any, ClassVar, Self, TypeVar

from bench.downstream.probe.result import (
    IMAGES,
    TASK_PART_SEPARATOR,
    Classifier,
    TestImages,
    check_fractions,
    score_of,
)
from catlip.records.blocks import Block, Section, Text, command_to_fill, side_by_side
from catlip.records.claims import min_pairs
from catlip.records.estimate import Score, mean_difference, value_of
from catlip.records.figures import Axes, Figure, series_style
from catlip.records.kind import Kind
from catlip.records.lines import (
    Line,
    bars_in_words,
    draw_lines,
    height_for,
    means_in_words,
    means_of,
)
from catlip.records.run import Records, Run, Setting, select_kind
from catlip.records.select import MAX_SHOWN, group_by_scale, scale_in_words, suffix
from catlip.records.styles import CATLIP, CLIPS, name_of
from catlip.records.table import (
    Cell,
    Table,
    clipped,
    format_number,
    listed,
    number_cell,
    quantity_cell,
    quantity_of,
)
from catlip.vocabulary.result import LABEL_SETS

T = TypeVar("T", bound="Trial")
LABELLED = (
    "--shards data/starter/pretrain --labels-dir runs/starter/labels --vocabulary "
    "runs/starter/vocabulary.json"
)
TUNING = f"python -m bench.study tuning {LABELLED} --probe starter-validation:data/starter"
CONDITIONS = f"python -m bench.study conditions {LABELLED} --probe starter:data/starter"
THRESHOLDS = (
    "python -m bench.study thresholds --shards data/starter/pretrain --labels-dir "
    "runs/starter/labels --probe starter:data/starter --seeds 0 1"
)


@dataclass(frozen=True, kw_only=True)
class Studied(Kind):
    """One training of a study, and the top-1 accuracies of probes of its encoder, by task, or by a
    part of a task's test images, such as `concepts, held out`.
    """

    rows: ClassVar = {"runs": Classifier, IMAGES: TestImages}

    method: str
    accuracies: dict[str, float]

    def __post_init__(self) -> None:
        check_fractions(**self.accuracies)

    @property
    def outcome(self) -> str:
        return ", ".join(f"{task} {100 * top1:.1f} %" for task, top1 in self.accuracies.items())


def mean_and_ends(values: Sequence[Score | float]) -> Cell:
    """The mean with its 95 % interval, or the range of a few values; a dash without any."""
    mean = mean_difference(values)
    if mean is None:
        return Cell()
    points = [*map(value_of, values)]
    low, high = (min(points), max(points)) if mean.low is None else (mean.low, mean.high)
    ends = f"n = {len(values)}" + (f", {mean.images:,} images" if mean.images else "")
    if len(values) > 1:
        ends = f"{format_number(low, 1)} to {format_number(high, 1)}, {ends}"
    return Cell(format_number(mean.value, 1), ends)


# --- Tuning ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Trial(Studied):
    """One training by a recipe with drawn fields, on validation data; `failed` if it diverged."""

    kind = "tuning"

    trial: int
    drawn: dict[str, float]
    images_seen: float | None = None
    train_seconds: float | None = None
    failed: str | None = None

    @property
    def outcome(self) -> str:
        return self.failed or super().outcome

    @property
    def score(self) -> float:
        """The mean accuracy over tasks, by which the best trial is chosen; 0 if it diverged."""
        values = list(self.accuracies.values())
        return sum(values) / len(values) if values else 0.0


@dataclass(frozen=True, kw_only=True)
class Finalist(Trial):
    """A training of full length by one of the best trials' recipes, with one of several seeds."""

    kind = "finalist"


def group_by_trial(runs: Iterable[Run[Trial]]) -> dict[str, dict[int, list[Run[Trial]]]]:
    """Method -> trial -> its runs, several if they are finalists."""
    groups: dict[str, dict[int, list[Run[Trial]]]] = {}
    for run in runs:
        groups.setdefault(run.metrics.method, {}).setdefault(run.metrics.trial, []).append(run)
    return groups


def tuned_alike(runs: Iterable[Run[T]]) -> dict[tuple[str, float], list[Run[T]]]:
    """(Encoder, images that a training saw, to two digits) -> trials, the most first. One that
    diverged is with the most trials of its encoder.
    """
    groups: dict[tuple[str, float], list[Run[T]]] = {}
    for run in sorted(runs, key=lambda run: not run.metrics.images_seen):  # diverged last
        encoder, seen = run.config.recipe.encoder, run.metrics.images_seen
        key = (encoder, float(f"{seen or 0:.2g}"))
        if not seen:
            same = [each for each in groups if each[0] == encoder]
            key = max(same, key=lambda each: len(groups[each]), default=key)
        groups.setdefault(key, []).append(run)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def mean_score(runs: Iterable[Run[Trial]]) -> float:
    return fmean(run.metrics.score for run in runs)


def best_trials(runs: Iterable[Run[Trial]], count: int) -> dict[str, list[int]]:
    """Method -> the numbers of its best trials, the best first."""
    return {
        method: sorted(trials, key=lambda trial: mean_score(trials[trial]), reverse=True)[:count]
        for method, trials in group_by_trial(runs).items()
    }


def best_clip(methods: Iterable[str], records: Iterable[Run]) -> str:
    """The CLIP among these methods that CatLIP is compared with: the one whose text tower is best
    on validation, by finalists where each tower has some, else by trials. If not all towers were
    tuned, it is the bag of words, which is the better one wherever all were.
    """
    among = [clip for clip in CLIPS if clip in {*methods}] or [CLIPS[-1]]
    records = [*records]
    for kind in (Finalist, Trial):
        tuned = tuned_alike(run for run in select_kind(records, kind) if run.method in among)
        usual = next(iter(tuned.values()), [])
        best = {
            method: max(map(mean_score, trials.values()))
            for method, trials in group_by_trial(usual).items()
        }
        if best.keys() >= {*among}:
            return max(among, key=lambda clip: best[clip])
    return among[0]


def tuning_table(runs: Iterable[Run[Trial]], name: str, title: str) -> Table:
    """One row per method: how many trials it had, and the best one; each recipe once."""
    rows, listed_trials = [], set[int]()
    for method, trials in group_by_trial(runs).items():
        best = max(trials.values(), key=mean_score)
        score = Cell(f"{100 * mean_score(best):.1f}", anchor=best[0].anchor)
        trial = best[0].metrics
        which = f"{trial.trial}"
        if (
            len(best) == 1 and trial.trial not in listed_trials
        ):  # a finalist is in the trials' table
            listed_trials.add(trial.trial)
            settings = ", ".join(f"{name} {value:.3g}" for name, value in trial.drawn.items())
            which += f": {settings}"
        rows.append([Cell(name_of(method)), Cell(str(len(trials))), score, Cell(which)])
    columns = ["Method", "Trials", "Best, validation (%)", "Its number"]
    return Table(name, title, columns, rows=rows)


def shared_draws(runs: Iterable[Run[Trial]]) -> str:
    """How often CatLIP is above each CLIP among recipes that both were trained with; may be
    empty.
    """
    by_draw = {
        (one.method, one.trial, one.drawn["max_lr"]): one
        for one in (run.metrics for run in runs)
        if one.accuracies
    }
    sentences = []
    for clip in CLIPS:
        pairs = [
            (one, by_draw[clip, trial, rate])
            for (method, trial, rate), one in by_draw.items()
            if method == CATLIP and (clip, trial, rate) in by_draw
        ]
        if not pairs:
            continue
        above = [
            f"{sum(one.accuracies[task] > other.accuracies[task] for one, other in pairs)} by "
            f"{task}"
            for task in pairs[0][0].accuracies
        ]
        if len(above) > 1:
            above.append(f"{sum(one.score > other.score for one, other in pairs)} by their mean")
        sentences.append(
            f"Of {len(pairs)} shared recipes (one seed) CatLIP is above {name_of(clip)} in "
            f"{listed(above)}."
        )
    return " ".join(sentences)


def _in_words(scales: Iterable[list[Run[T]]]) -> dict[str, list[Run[T]]]:
    """Words for scale, encoder and length -> its trials, the most first."""
    groups: dict[str, list[Run[T]]] = {}
    for runs in scales:
        for (encoder, images), alike in tuned_alike(runs).items():
            words = f"{scale_in_words(runs[0].scale)}, {clipped(encoder, 40)}"
            words += f", {images:,.0f} images" if images else ""
            groups[words] = alike
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def tuning_section(main: Setting | None, records: Records) -> Section:
    introduction = (
        "Each method gets the same trials from the same ranges: short trainings, judged on "
        "validation data that no other number uses."
    )
    blocks: list[Block] = []
    for i, (words, trials) in enumerate(_in_words(group_by_scale(records, main, Trial)).items()):
        table = tuning_table(trials, f"tuning{suffix(i)}", f"Trials {words}")
        blocks.append(replace(table, caption=shared_draws(trials), folded=i > 0))
    for i, (words, finalists) in enumerate(
        _in_words(group_by_scale(records, main, Finalist)).items()
    ):
        table = tuning_table(finalists, f"finalists{suffix(i)}", f"Finalists {words}")
        blocks.append(replace(table, folded=i > 0))
    blocks = blocks or command_to_fill("No recipe was tuned.", TUNING)
    return Section("tuning", "Tuning", [Text(introduction), *blocks])


# --- Conditions -----------------------------------------------------------------------------------

NONE = "none"  # the condition that changes nothing
IN_WORDS = {  # condition -> what it is, with its value or percentage
    NONE: "captions as they are",
    "lost": "{percent} % of the samples lost",
    "shuffled": "{percent} % of the captions swapped",
    "chatty": "{percent} % of the captions chatty",
    "heldout": "{percent} % of the concepts held out",
    "teams": "tested on {value}",
    "recipe": "recipe of {value}",
    "batch": "batch of {value}",
}


def condition_in_words(condition: str) -> str:
    """`lost=0.4` as `40 % of the samples lost`."""
    kind, _, value = condition.partition("=")
    try:
        percent = f"{100 * float(value):.3g}"
    except ValueError:
        percent = value
    words = IN_WORDS.get(kind, condition)
    return clipped(words.format(value=value, percent=percent), 40)


@dataclass(frozen=True, kw_only=True)
class ConditionTraining(Studied):
    """One training under a condition (KIND=VALUE, or `none`): how many samples it leaves, the
    classes of its vocabulary, and which fraction of the usual classes is among these.
    """

    kind = "robustness"

    condition: str  # `noise` in records
    seed: int
    samples: int | None
    classes: int
    classes_kept: float
    images_seen: float
    final_loss: float

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        return super().read({**metrics, "condition": metrics.get("noise")})

    def as_dict(self) -> dict[str, Any]:
        metrics = super().as_dict()
        return {name.replace("condition", "noise"): value for name, value in metrics.items()}


def conditions_table(
    runs: Iterable[Run[ConditionTraining]], name: str = "robustness"
) -> list[Table]:
    """A row per condition and method: what the condition changes, paired by seed."""
    groups: dict[tuple[float, str, str], dict[int, Run[ConditionTraining]]] = {}
    tasks: dict[str, None] = {}
    for run in runs:
        one = run.metrics
        images = float(f"{one.images_seen:.2g}")  # in whole steps, which differ by method
        groups.setdefault((images, one.condition, one.method), {})[one.seed] = run
        tasks |= dict.fromkeys(task for task in one.accuracies if TASK_PART_SEPARATOR not in task)
    rows = []
    for (images, condition, method), group in groups.items():
        usual = groups.get((images, NONE, method), {})
        # Trained otherwise, or tested on other images.
        is_of_data = not condition.startswith(("recipe=", "batch=", "teams="))
        if condition == NONE or not is_of_data or not usual:
            continue
        first = next(iter(group.values()))
        kept = Cell(format_number(100 * first.metrics.classes_kept, 0), anchor=first.anchor)
        row = [Cell(condition_in_words(condition)), Cell(name_of(method)), kept]
        for task in tasks:
            top1, before = (
                {
                    seed: score_of(run, task)
                    for seed, run in side.items()
                    if task in run.metrics.accuracies
                }
                for side in (group, usual)
            )
            row.append(
                mean_and_ends([top1[seed] - before[seed] for seed in top1 if seed in before])
            )
        rows.append(row)
    columns = ["Condition", "Method", "Classes kept (%)"]
    columns += [f"{task}, change (points)" for task in tasks]
    caption = (
        "Change of the top-1 accuracy from the same seed without the condition: mean (95 % "
        "interval over n seeds, and over the test images where their number is named; the seeds' "
        f"range for fewer than {min_pairs()}). CLIP does not use the classes."
    )
    title = "What each condition of the data changes"
    return [Table(name, title, columns, rows=rows, caption=caption)] if rows else []


def conditions_section(main: Setting | None, records: Records) -> Section:
    words = (
        "Each method is trained on changed data, such as captions that are not lists of nouns or "
        "belong to another image; the vocabulary is built from them."
    )
    scales = group_by_scale(records, main, ConditionTraining)
    tables = [
        t for i, runs in enumerate(scales) for t in conditions_table(runs, f"robustness{suffix(i)}")
    ]
    blocks = tables or command_to_fill("Nothing was trained with noise.", CONDITIONS)
    return Section("robustness", "Noise", [Text(words), *blocks])


# --- Thresholds -----------------------------------------------------------------------------------

# What a threshold leaves, in a record -> its column and decimals in the table.
LEFT = {
    "classes": ("Classes", 0),
    "labels_per_caption": ("Labels per caption", 2),
    "captions_without_label": ("Captions without a label", 0),
}


@dataclass(frozen=True, kw_only=True)
class ThresholdTraining(Studied):
    kind = "threshold_training"

    threshold: int
    seed: int
    train_seconds: float
    images_seen: float


@dataclass(frozen=True, kw_only=True)
class Threshold(Kind):
    """Threshold -> what it leaves of the classes and of the captions' labels, and the means over
    seeds of a training's cost and accuracies with these classes, such as `concepts_top1`.
    """

    kind = "threshold"

    thresholds: dict[int, dict[str, float]]


def threshold_accuracies(run: Run[Threshold]) -> dict[str, dict[float, dict[float, float]]]:
    """Probe -> threshold -> seed -> top-1 accuracy in %; repeated runs of a seed are averaged."""
    thresholds, seeds = run.series("threshold"), run.series("seed")
    by_probe: dict[str, dict[float, dict[float, float]]] = {}
    for name in (name for name in run.samples if name.endswith("_top1")):
        levels: dict[float, dict[float, list[float]]] = {}
        rows = zip(thresholds, seeds, run.series(name), strict=False)
        for threshold, seed, top1 in sorted(rows):
            if (threshold == 0 or 1 <= threshold < 1e12) and 0 <= top1 <= 1:
                levels.setdefault(threshold, {}).setdefault(seed, []).append(100 * top1)
        probe = name.removesuffix("_top1")
        if levels:
            by_probe[LABEL_SETS.get(probe, clipped(probe, 24))] = {
                threshold: {seed: fmean(each) for seed, each in by_seed.items()}
                for threshold, by_seed in levels.items()
            }
    return by_probe


def threshold_table(run: Run[Threshold], scale: str) -> list[Table]:
    """One row per threshold: what it leaves, and the probes' accuracies."""
    by_probe = threshold_accuracies(run)
    rows = []
    for threshold, left in sorted(run.metrics.thresholds.items()):
        row = [Cell(f"{threshold:,}")]
        for name, (_, decimals) in LEFT.items():
            row.append(number_cell(left.get(name), decimals, run.anchor))
        for levels in by_probe.values():
            top1 = quantity_of(levels.get(threshold, {}).values())
            row.append(quantity_cell(top1, 1, run.anchor))
        rows.append(row)
    columns = ["Threshold", *(column for column, _ in LEFT.values())]
    columns += [f"{probe}, top-1 (%)" for probe in by_probe]
    title = f"The pruning threshold {scale_in_words(scale)} on {run.device}"
    return [Table("threshold", title, columns, rows=rows)] if rows else []


def threshold_figures(record: Run[Threshold], suffix: str) -> list[Figure]:
    """Accuracy by pruning threshold, a line for each probe, in Figure 6's form, if there is one."""
    lines = []
    for i, (probe, levels) in enumerate(threshold_accuracies(record).items()):
        style = series_style(i)
        marks = [(t, top1) for t, by_seed in levels.items() for top1 in by_seed.values()]
        means = means_of([(t, str(n), top1) for n, (t, top1) in enumerate(marks)])
        lines.append(Line(probe, "", style["color"], style["marker"], means=means, marks=marks))
    if not lines:
        return []
    caption = (
        f"Linear-probe accuracy by pruning threshold, {scale_in_words(record.scale)}; every mark "
        f"is a seed. {bars_in_words(lines)}"
    )
    alt = f"Accuracy by threshold. {means_in_words(lines, '', lambda t: f'{t:,.0f}')}."
    classes = {float(t): left.get("classes") for t, left in record.metrics.thresholds.items()}
    draw = partial(_draw_thresholds, lines=lines, classes=classes)
    height = height_for(lines)
    return [Figure(f"threshold{suffix}", caption.strip(), alt, draw=draw, height=height)]


def _draw_thresholds(axes: Axes, lines: Sequence[Line], classes: dict[float, float | None]) -> None:
    thresholds = sorted({t for line in lines for t, _ in line.points})
    if thresholds[0] == 0:
        axes.set_xscale("symlog", linthresh=min((t for t in thresholds if t > 0), default=1.0))
    else:
        axes.set_xscale("log")
    axes.set_xlabel("pruning threshold (occurrences), and below it the classes kept")
    axes.set_ylabel("top-1 accuracy (%)")
    ticks = [f"{t:,.0f}\n{format_number(classes.get(t), 0)}" for t in thresholds]
    axes.set_xticks(thresholds, ticks)
    axes.set_xticks([], minor=True)
    draw_accuracies(axes, lines)


def draw_accuracies(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw lines of accuracies in % from 0."""
    axes.set_ylim(0, 1.08 * max(y for line in lines for _, y in line.marks) or 1.0)
    draw_lines(axes, lines, lambda x, _: x, leader=":")


def threshold_section(main: Setting | None, records: Records) -> Section:
    words = (
        "A low threshold keeps rare synsets as classes; a high one leaves captions without labels."
    )
    blocks: list[Block] = []
    chosen = [record for scale in group_by_scale(records, main, Threshold) for record in scale]
    for i, record in enumerate(chosen[:MAX_SHOWN]):
        blocks += side_by_side(threshold_figures(record, suffix(i)))
    blocks = blocks or command_to_fill("Not run.", THRESHOLDS)
    return Section("threshold", "Where to cut the vocabulary", [Text(words), *blocks])
