"""The page's sections on what an encoder is worth: on new tasks, with little data, with Transfer
Init, after longer training.

Each section is a function of the records of a few kinds. Each scale has tables and figures of its
own. The paper's tables are in another section. A section without records shows the command that
would fill it.
"""

from collections import Counter

from bench.downstream.dense.figures import dense_sections
from bench.downstream.probe import few_labels, transfer_gain, worth
from bench.studies.longer_training_figures import longer_figures
from bench.studies.longer_training_result import LongerTraining
from bench.studies.robustness_result import Robustness, robustness_table
from bench.studies.scaling_figures import against_itself, scaling_figures
from bench.studies.scaling_result import Scaling
from bench.studies.scaling_tables import scaling_tables
from bench.studies.tuning_result import Trial, tuning_table
from catlip.method_style import name_of
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.caveats import with_warning
from catlip.results.rules import by_scale, suffix
from catlip.results.run import Records
from reports.read.measured import Setting
from reports.summary.plots import accuracy_figure

LONGER = (
    "python -m bench.downstream.longer_training runs/starter/pretrain/catlip-seed0 --data "
    "starter:data/starter"
)
LABELLED = (
    "--shards data/starter/pretrain --labels-dir runs/starter/labels --vocabulary "
    "runs/starter/vocabulary.json"
)
SCALING = f"python -m bench.scaling {LABELLED} --probe starter:data/starter"
ROBUSTNESS = f"python -m bench.robustness {LABELLED} --probe starter:data/starter"
TUNING = f"python -m bench.tuning {LABELLED} --probe starter-validation:data/starter"


def transfer_sections(main: Setting | None, records: Records) -> list[Section]:
    """All sections on what an encoder is worth, in the order of the page."""
    # The accuracies stand at the top of the page, unless the accuracies at equal cost do.
    is_below = main is not None and bool(scaling_figures(main.of(Scaling)))
    figures = side_by_side(accuracy_figure(main)) if main and is_below else []
    return [
        worth.section(main, records, figures),
        *dense_sections(main, records),
        few_labels.section(main, records),
        transfer_gain.section(main, records),
        Section("longer-training", "Longer training", _longer(main, records)),
        Section("scaling", "Accuracy at equal cost", _scaling(main, records)),
        Section("robustness", "Noise", _robustness(main, records)),
        Section("tuning", "Tuning", _tuning(main, records)),
    ]


def _longer(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "In the paper's Figure 4, CatLIP goes on improving with more epochs on CC3M where CLIP "
        "does not, and reaches the same accuracy with less compute. Here a linear probe on "
        "frozen features measures accuracy as pre-training goes on. A probe here is one "
        "classifier, in the table at the top of the page several: the two may differ by a point."
    )
    blocks: list[Block] = []
    for i, own in enumerate(by_scale(records, main, LongerTraining)):
        blocks += side_by_side(longer_figures(own, suffix(i)))
    return [Text(words), *(blocks or to_fill("No encoder was probed during its training.", LONGER))]


def _scaling(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "Methods that see the same number of images do not cost the same. Each point is a separate "
        "training to the end of its schedule; trainings differ in length, fraction of the data and "
        "encoder."
    )
    blocks: list[Block] = []
    for i, own in enumerate(by_scale(records, main, Scaling)):
        is_main = main is not None and (own[0].root, own[0].scale) == (main.root, main.scale)
        figures = scaling_figures(own, suffix(i), main.tasks if main and is_main else ())
        if figures and is_main:
            words += " The first task's figure is at the top of the page."
            figures = figures[1:]
        blocks += side_by_side(figures)
        blocks += [with_warning(t, own) for t in scaling_tables(own, f"scaling{suffix(i)}")]
        blocks += map(Text, against_itself(own))
    return [
        Text(words),
        *(blocks or to_fill("No trainings of several lengths were compared.", SCALING)),
    ]


def _robustness(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "Captions from the web are not lists of nouns, some belong to another image, and links "
        "break. Each method is trained on the same data with a part of it lost or made worse, and "
        "the vocabulary is built from that data too."
    )
    tables = [
        robustness_table(own, f"robustness{suffix(i)}")
        for i, own in enumerate(by_scale(records, main, Robustness))
    ]
    return [Text(words), *(tables or to_fill("Nothing was trained with noise.", ROBUSTNESS))]


def _tuning(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "Which of two methods is better can depend on the learning rate. Each method gets the same "
        "trials from the same ranges: short trainings, judged on validation data that no other "
        "number of this page uses."
    )
    blocks: list[Block] = []
    for i, tried in enumerate(by_scale(records, main, Trial)):
        numbers = Counter(record.method for record in tried)
        if len(set(numbers.values())) > 1:
            each = ", ".join(f"{name_of(method)} {count}" for method, count in numbers.items())
            blocks.append(Text(f"The methods were not tuned with equally many trials: {each}."))
        blocks.append(tuning_table(tried, f"tuning{suffix(i)}", f"Trials, {tried[0].scale} scale"))
    return [Text(words), *(blocks or to_fill("No recipe was tuned.", TUNING))]
