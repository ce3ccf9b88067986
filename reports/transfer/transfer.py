"""The page's sections on what an encoder is worth: on new tasks, with little data, with Transfer
Init, after longer training.

Each section is a function of the records of a few kinds. Each scale has tables and figures of its
own. The paper's tables are in another section. A section without records shows the command that
would fill it.
"""

from collections import Counter
from collections.abc import Sequence

from bench.downstream.dense.result import section as dense_section
from bench.downstream.probe.few_labels import share_figures
from bench.downstream.probe.result import Finetune, LinearProbe, OnTasks, Readout
from bench.downstream.probe.tables import readout_table, worth_table
from bench.downstream.probe.transfer_gain import gain_sentences, gain_table
from bench.downstream.probe.transfer_options_result import TransferOptions, transfer_options_table
from bench.downstream.probe.transfer_origins import origin_sentences
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
from catlip.results.run import Records, Run
from reports.read.measured import Setting
from reports.summary.plots import accuracy_figure

ENCODER = "--encoder runs/starter/pretrain/catlip-seed0 --data starter:data/starter"
FRACTIONS = "--fraction 0.05 0.1 0.25 0.5 1 --init random transfer"
PROBE = f"python -m bench.downstream.linear_probe {ENCODER} {FRACTIONS}"
FINETUNE = f"python -m bench.downstream.finetune {ENCODER} {FRACTIONS}"
READOUT = f"python -m bench.downstream.readouts {ENCODER}"
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
    return [
        Section("worth", "Probes and fine-tuning", _worth(main, records)),
        dense_section(main, records),
        Section("few-labels", "Little data", _few_labels(main, records)),
        Section("transfer-init", "Transfer Init", _transfer_init(main, records)),
        Section("longer-training", "Longer training", _longer(main, records)),
        Section("scaling", "Accuracy at equal cost", _scaling(main, records)),
        Section("robustness", "Noise", _robustness(main, records)),
        Section("tuning", "Tuning", _tuning(main, records)),
    ]


def _worth(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "Encoders are compared by their accuracy on tasks they were not trained for: with a linear "
        "classifier on frozen features (linear probe, LP), with the whole encoder trained further "
        "(fine-tuning, FT), and without training anything (zero-shot, nearest neighbours). The "
        "paper's Table 1 is further below, at its own scale: do not compare it with these tables."
    )
    blocks: list[Block] = [Text(words)]
    if main and scaling_figures(main.of(Scaling)):  # else it is at the top of the page
        blocks += side_by_side(accuracy_figure(main))
    for i, own in enumerate(by_scale(records, main, LinearProbe, Finetune)):
        blocks += worth_table(own, suffix(i))
    kinds = {record.kind for record in records.every}
    missing = {
        "linear_probe": ("No linear probe has been recorded.", PROBE),
        "finetune": ("Nothing was fine-tuned.", FINETUNE),
    }
    for kind, (said, command) in missing.items():
        if kind not in kinds:
            blocks += to_fill(said, command)
    read = []
    for i, readouts in enumerate(by_scale(records, main, Readout)):
        where = (readouts[0].root, readouts[0].scale)
        probes = [r for r in records.of(LinearProbe) if (r.root, r.scale) == where]
        read += readout_table(readouts, probes, suffix(i))
    blocks += read or to_fill("No zero-shot or nearest-neighbour accuracy was recorded.", READOUT)
    return blocks


def _few_labels(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "How much of a task's training data does an encoder save? Each point trains on a fraction "
        "of it, with the encoder frozen (linear probe) or trained too (fine-tuning), and is tested "
        "on all test images. A classifier starts at random or from the rows that CatLIP's "
        "pre-training learnt for the same nouns (Transfer Init), which CLIP does not have."
    )
    blocks: list[Block] = [Text(words)]
    probed, tuned = by_scale(records, main, LinearProbe), by_scale(records, main, Finetune)
    blocks += _by_share(probed, "No probe with less than all data was recorded.", PROBE)
    blocks += _by_share(tuned, "Nothing was fine-tuned with less than all data.", FINETUNE)
    return blocks


def _by_share(scales: Sequence[Sequence[Run[OnTasks]]], said: str, command: str) -> Sequence[Block]:
    """The figures of each scale's records; without any, what is missing and the command that makes
    it.
    """
    figures = []
    for i, records in enumerate(scales):
        figures += share_figures(records, suffix(i))
    return side_by_side(figures) or to_fill(said, command)


def _transfer_init(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "Each label of a new task is looked up among the nouns of pre-training, and its classifier "
        "row starts from the row of the noun that is found. If this helps, it should be where few "
        "images show what a class looks like. The two runs of a pair differ only in the start."
    )
    blocks: list[Block] = []
    for i, own in enumerate(by_scale(records, main, LinearProbe, Finetune)):
        blocks += map(Text, gain_sentences(own))
        blocks += gain_table(own, suffix(i))
        blocks += map(Text, origin_sentences(own))
    for i, tried in enumerate(by_scale(records, main, TransferOptions)):
        for j, record in enumerate(tried):
            if record.measured.gains:
                name = f"transfer_options{suffix(i)}{f'_{j + 1}' if j else ''}"
                blocks.append(transfer_options_table(name, record.scale, record))
    return [
        Text(words),
        *(blocks or to_fill("No classifier started from rows of pre-training.", PROBE)),
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
