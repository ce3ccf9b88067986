"""What differs between CatLIP and CLIP beside the objective, from what their trainings were told
and hold: it may be behind a difference in accuracy.
"""

from collections import Counter

from catlip.kinds import LinearProbe, Pretrain, Trial
from catlip.table import shown
from reports.compare.differences import listed
from reports.read.measured import Setting, differing_fields
from reports.summary.answers import PAIR
from reports.transfer.transfer_origins import origins_of
from reports.transfer.transfer_runs import task_title


def confounds(setting: Setting) -> str:
    """In one paragraph; empty where one of the two was not trained."""
    first = [next(iter(setting.of(Pretrain, method)), None) for method in PAIR]
    catlip, clip = first
    if catlip is None or clip is None:
        return ""
    fields = differing_fields([catlip.recipe, clip.recipe])
    said = [f"their recipes in {listed(fields)} ({_tuned(setting)})"] if fields else []
    towers = [
        (record.measured.parameters_total - record.measured.parameters_image) / 1e6
        for record in (catlip, clip)
    ]
    said.append(
        f"CLIP trains a text tower of {shown(towers[1], 1)} M parameters, CatLIP a classifier of "
        f"{shown(towers[0], 1)} M whose biases start at how often each class occurs"
    )
    said += _shared_classes(setting)
    if setting.scale == "starter":
        said.append("captions are names and keywords, which is CatLIP's best case")
    return f"Beside the objective these differ, or favour one side: {'; '.join(said)}."


def _tuned(setting: Setting) -> str:
    trials = Counter(trial.method for trial in setting.of(Trial))
    one, other = (trials[method] for method in PAIR)
    if not one and not other:
        return "no record of tuning"
    return f"each tuned in {one} trials" if one == other else f"tuned in {one} and {other} trials"


def _shared_classes(setting: Setting) -> list[str]:
    """How many labels of each probe are classes that CatLIP was trained on."""
    return [
        f"{sum(row.kind == 'exact' for row in rows)} of {task_title([record], task)} are classes "
        "of CatLIP's"
        for task, (record, rows) in origins_of(setting.of(LinearProbe)).items()
    ]
