"""What differs between CatLIP and CLIP besides the objective, according to their trainings'
records: each may be the reason for a difference in accuracy.
"""

from collections import Counter

from bench.downstream.probe.result import LinearProbe, between_probes, task_title
from bench.downstream.probe.sections import origins_of
from bench.study.result import Trial
from catlip.pretraining.result import Pretrain
from catlip.results.select import differing_fields
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
    trials = Counter(trial.method for trial in setting.of(Trial))
    of_catlip, of_clip = (trials[method] for method in PAIR)
    tuned = f"the best of {of_catlip} and of {of_clip} trials"
    if of_catlip == of_clip:
        tuned = f"each method's best of {of_clip} trials" if of_clip else "no record of tuning"
    recipes = f", and recipes differ in {listed(named)} ({tuned})" if named else ""
    tower = (clip.measured.parameters_total - clip.measured.parameters_image) / 1e6
    words = (
        f"What else differs: CLIP trains a text tower of {shown(tower, 1)} M parameters{recipes}."
    )
    favours = ["its classifier's biases start from the class frequencies"]
    origins = {
        task: of_task
        for task, of_task in origins_of(setting.of(LinearProbe)).items()
        if task in setting.first_tasks
    }
    if setting.scale == "starter":
        favours = ["captions are names and keywords", *favours]
        words += " Pre-training has drawings of all these concepts, by other teams."
    elif origins:
        counts = [
            f"{sum(row.kind == 'exact' for row in rows)} of {task_title([record], task)}"
            for task, (record, rows) in origins.items()
        ]
        favours = [f"{listed(counts)} are classes that it was trained on", *favours]
    words += f" In CatLIP's favour: {'; '.join(favours)}."
    elsewhere = []  # on test images whose labels are not classes of CatLIP
    for task in (task for task in setting.first_tasks if task in origins):
        images = [
            image for row in origins[task][1] if row.kind != "exact" for image in row.test_images
        ]
        one, other = (setting.probes(method, task).records for method in PAIR)
        difference = between_probes(one, other, task, images) if images else None
        if difference:
            elsewhere.append(
                f"{signed(difference.value, 1)} points on {setting.name(task)} "
                f"({ends(difference)}; {len(images)} images)"
            )
    if elsewhere:
        words += f" Labels that are not CatLIP's classes: {', '.join(elsewhere)}."
    return words
