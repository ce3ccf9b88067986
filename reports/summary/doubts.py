"""What could make the answers wrong: what favours CatLIP, what else differs, and the scale; with
the difference that was measured where that is otherwise.
"""

import math
from collections import Counter
from collections.abc import Sequence

from bench.downstream.probe.result import LinearProbe
from bench.downstream.probe.sections import origins_of
from bench.study.result import Trial, best_clip
from catlip.pretraining.result import Pretrain, is_whole
from catlip.records.run import TIMES, Run
from catlip.records.select import differing_fields
from catlip.records.styles import CLIPS, distinct_name
from catlip.records.table import clipped, format_number, from_to, listed, signed
from reports.read.differences import Difference, longest
from reports.read.setting import Setting
from reports.summary.answers import (
    LONGER,
    after_each_length,
    compared_tasks,
    epochs_of,
    larger_encoders,
    longer_and_shorter,
    on_tasks,
    over_other_teams,
    probed_tasks,
    under_conditions,
    with_ends,
)
from reports.summary.near_and_far import labels_that_are_classes

PLAIN = {  # recipe fields that each method chooses for itself, in words; "" is not named
    "max_lr": "learning rate",
    "min_lr": "",
    "warmup_iterations": "warm-up",
    "betas": "Adam's betas",
    "weight_decay": "weight decay",
    "micro_batch": "batch",
    "crop_scale": "crop",
    "label_captions": "captions that give the labels",
}
Said = tuple[str, str]  # the CLIP that CatLIP is compared with, and a sentence


def title(setting: Setting) -> str:
    """What `doubts` are about, and the order of their numbers."""
    tasks = " / ".join(map(setting.name, setting.first_tasks))
    return "What could make this wrong" + (f": CatLIP minus CLIP on {tasks}" if tasks else "")


def doubts(setting: Setting) -> list[str]:
    """What could make the answers wrong: what favours CatLIP, what else differs, and the scale;
    nothing if one of the two was not trained.
    """
    catlip, clip = (next(iter(setting.of(Pretrain, method)), None) for method in setting.pair)
    if catlip is None or clip is None:
        return []
    return [
        *_batches(setting),
        _favours(setting),
        _differs(setting, catlip, clip),
        _scale(setting, catlip),
    ]


def _batches(setting: Setting) -> list[str]:
    words = [
        f"{from_to((one.estimate.value for one in found), show=signed)} with {size}"
        for size, found in under_conditions(setting, "batch").items()
    ]
    return [f"With other batches: {listed(words)} images a step."] if words else []


def _held_out(setting: Setting) -> list[Said]:
    """CatLIP - CLIP on concepts left out of pre-training, after a study's longest training."""
    found = [one for one in setting.differences if one.part == "held out" and one.method in CLIPS]
    clip = best_clip((one.method for one in found), setting.records)
    found = longest([one for one in found if one.method == clip])
    if not found:
        return []
    return [(clip, f"Concepts left out of pre-training: {_points(setting, found)}.")]


def _points(setting: Setting, found: Sequence[Difference], brief: bool = False) -> str:
    """The differences, without their ends if they are from another CLIP than the page's."""
    return on_tasks(setting, found, brief or found[0].method != setting.clip)


def _favours(setting: Setting) -> str:
    """What favours CatLIP, and whether it is ahead on labels that are not its classes."""
    favours = ["its classifier starts from class frequencies"]
    every = origins_of(setting.of(LinearProbe))
    origins = {task: every[task] for task in setting.first_tasks if task in every}
    if setting.scale == "starter":
        favours = ["captions are names and keywords", *favours]
    elif origins:
        known = labels_that_are_classes(setting)
        counts = ["{} of {} labels of ".format(*known[t]) + setting.name(t) for t in origins]
        favours = [f"{listed(counts)} are classes that it was trained on", *favours]
    words = f"In CatLIP's favour: {'; '.join(favours)}."
    elsewhere = []
    for task, (_, rows) in origins.items():
        images = [image for row in rows if row.kind != "exact" for image in row.test_images]
        difference = setting.paired(task, images).difference() if images else None
        if difference and difference.images:
            elsewhere.append(with_ends(difference))
    if elsewhere:
        words += f" On labels that are not its classes: {' / '.join(elsewhere)}."
    return words


def _differs(setting: Setting, catlip: Run[Pretrain], clip: Run[Pretrain]) -> str:
    fields = differing_fields([catlip.recipe, clip.recipe])
    named = [name for field in fields if (name := PLAIN.get(field, field))]
    encoder = catlip.config.recipe.encoder
    tried = [trial for trial in setting.of(Trial) if trial.config.recipe.encoder == encoder]
    trials = Counter(trial.method for trial in tried)
    of_catlip, of_clip = (trials[method] for method in setting.pair)
    tuned = f"the best of {of_catlip} and of {of_clip} trials"
    if of_catlip == of_clip:
        tuned = f"best of {of_clip} trials each" if of_clip else "no record of tuning"
    recipes = f"; recipes differ in {listed(named, 3)} ({tuned})" if named else ""
    tower = (clip.metrics.parameters_total - clip.metrics.parameters_image) / 1e6
    words = f"CLIP also trains a text tower of {format_number(tower, 1)} M parameters{recipes}."
    if setting.scale == "photos" and not tried:
        words += (
            " The recipes were tuned on Flickr8k. On products this put CatLIP behind on tasks far "
            "from them, tuning on the products did not: ./run_all.sh --tune tunes on your data."
        )
    return words


def _scale(setting: Setting, trained: Run[Pretrain]) -> str:
    """How far these trainings are from the paper's, and what a shorter one, other data and a larger
    encoder change.
    """
    longest = max((one.images for one in compared_tasks(setting)), default=0)
    words = f"We train for {epochs_of(setting, longest or trained.metrics.images_seen)}"
    if not is_whole(trained):
        words += "; the paper: 25 to 100 on CC3M"
    teams = over_other_teams(setting, with_ends)
    conditions = [(setting.clip, f"{teams}.")] if teams else []
    conditions += _held_out(setting)
    if setting.scale == "starter" and not conditions:
        words += "; pre-training has drawings of all test concepts, by other teams"
    shorter = [one for one in longer_and_shorter(setting)[1] if one.task in setting.first_tasks]
    points = " / ".join(with_ends(one.estimate) for one in shorter)
    epochs = epochs_of(setting, shorter[0].images) if shorter else ""
    after = f" After {epochs}, as all else: {points}." if shorter else ""
    by_clip: dict[str, list[str]] = {setting.clip: [f"{words}.{after}{_longer(setting)}"]}
    for clip, sentence in [*conditions, *_with_larger(setting)]:
        by_clip.setdefault(clip, [f"The rest is over {distinct_name(clip)}."]).append(sentence)
    return " ".join(sentence for sentences in by_clip.values() for sentence in sentences)


def _longer(setting: Setting) -> str:
    """The differences after a longer training than the answers', of too few seeds for these."""
    answered = {
        one.task: one.images for one in compared_tasks(setting) if one.task in setting.first_tasks
    }
    found = [
        one
        for one in (*after_each_length(setting), *probed_tasks(setting))
        if one.images > LONGER * answered.get(one.task, math.inf)
    ]
    if not found:
        return ""
    images = max(one.images for one in found)
    points = " / ".join(with_ends(one.estimate) for one in found if one.images == images)
    return f" After {epochs_of(setting, images)}: {points}."


def _with_larger(setting: Setting) -> list[Said]:
    """The difference with each larger encoder, after its longest and its shortest training."""
    words = dict[str, list[str]]()
    for (name, times), lengths in larger_encoders(setting).items():
        (shortest, early), (longest, late) = min(lengths.items()), max(lengths.items())
        points = _points(setting, late, brief=True)
        word = f"{clipped(name, 24)} ({format_number(times, 1)}{TIMES}) {points}"
        if shortest < longest:
            times_as_long = f"{format_number(shortest / longest, 2)} times as long"
            word += f", trained {times_as_long} {_points(setting, early, brief=True)}"
        words.setdefault(late[0].method, []).append(word)
    return [
        (clip, f"Encoders of more operations: {'; '.join(each)}.") for clip, each in words.items()
    ]
