"""What differs between CatLIP and CLIP besides the objective, according to their trainings'
records: each may be the reason for a difference in accuracy.
"""

from collections import Counter

from bench.downstream.probe.result import LinearProbe, crossed, paired_by_image, task_title
from bench.downstream.probe.sections import origins_of
from bench.study.result import Trial
from catlip.pretraining.result import Pretrain
from catlip.results.likeness import differing_fields
from catlip.table import listed, shown, signed
from reports.read.measured import PAIR, Setting
from reports.summary.answers import ends

PLAIN = {  # recipe fields that each method chooses for itself, in words; "" is not named
    "max_lr": "learning rate",
    "min_lr": "",
    "warmup_iterations": "warm-up",
    "betas": "Adam's betas",
    "weight_decay": "weight decay",
    "micro_batch": "batch",
    "crop_scale": "crop",
}


def confounds(setting: Setting) -> str:
    """All differences in one paragraph; empty if one of the two was not trained."""
    catlip, clip = (next(iter(setting.of(Pretrain, method)), None) for method in PAIR)
    if catlip is None or clip is None:
        return ""
    fields = differing_fields([catlip.recipe, clip.recipe])
    named = [name for field in fields if (name := PLAIN.get(field, field))]
    recipes = f", and recipes differ in {listed(named)} ({_tuned(setting)})" if named else ""
    tower = (clip.measured.parameters_total - clip.measured.parameters_image) / 1e6
    said = (
        f"What else differs: CLIP trains a text tower of {shown(tower, 1)} M parameters{recipes}."
    )
    favours = ["its classifier's biases start from the class frequencies"]
    if setting.scale == "starter":
        favours = ["captions are names and keywords", *favours]
        said += " Pre-training has drawings of all these concepts, by other teams."
    else:
        favours = [*_shared_classes(setting), *favours]
    return f"{said} In CatLIP's favour: {'; '.join(favours)}. {_elsewhere(setting)}".rstrip()


def _elsewhere(setting: Setting) -> str:
    """The difference CatLIP - CLIP on test images whose labels are not classes of CatLIP, for each
    of the first tasks whose records say which images these are; empty without any.
    """
    said = []
    origins = origins_of(setting.of(LinearProbe))
    for task in (task for task in setting.first_tasks if task in origins):
        images = [
            place for row in origins[task][1] if row.kind != "exact" for place in row.test_images
        ]
        ours, theirs = (setting.probes(method, task).records for method in PAIR)
        differences = paired_by_image(ours, theirs, task)
        if not images or differences is None or max(images) >= differences.shape[1]:
            continue
        difference = crossed(differences[:, images])
        if difference:
            said.append(
                f"{signed(difference.value, 1)} points on {setting.name(task)} "
                f"({ends(difference)}; {len(images)} images)"
            )
    return f"Labels that are not CatLIP's classes: {', '.join(said)}." if said else ""


def _tuned(setting: Setting) -> str:
    trials = Counter(trial.method for trial in setting.of(Trial))
    one, other = (trials[method] for method in PAIR)
    if not one and not other:
        return "no record of tuning"
    if one == other:
        return f"each method's best of {one} trials"
    return f"the best of {one} and of {other} trials"


def _shared_classes(setting: Setting) -> list[str]:
    """How many labels of each probe are classes that CatLIP was trained on."""
    counts = [
        f"{sum(row.kind == 'exact' for row in rows)} of {task_title([record], task)}"
        for task, (record, rows) in origins_of(setting.of(LinearProbe)).items()
        if task in setting.first_tasks
    ]
    return [f"{listed(counts)} are classes that it was trained on"] if counts else []
