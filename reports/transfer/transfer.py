"""The sections on what an encoder is worth: on new tasks, with little data, with Transfer Init,
after longer training.

Each is a function of the records of a few kinds. Numbers of different scales stand in tables and
figures of their own, and none of them in the paper's: those have a section of their own. What was
not run says with which command it would be.
"""

from collections.abc import Sequence

from reports.read.measured import Setting
from reports.read.records import Record, Records
from reports.read.rules import by_scale, suffix
from reports.render.blocks import Block, Section, Text, side_by_side, to_fill
from reports.transfer.dense import dense_sections
from reports.transfer.few_labels import FORMS, share_figures
from reports.transfer.longer_training import longer_figures
from reports.transfer.transfer_gain import gain_sentences, gain_table
from reports.transfer.transfer_options import option_tables
from reports.transfer.transfer_origins import origin_tables
from reports.transfer.transfer_tables import readout_table, worth_table

ENCODER = "--encoder runs/starter/pretrain/catlip-seed0 --data starter:data/starter"
SHARES = "--fraction 0.05 0.1 0.25 0.5 1 --init random transfer"
PROBE = f"python -m bench.downstream.linear_probe {ENCODER} {SHARES}"
FINETUNE = f"python -m bench.downstream.finetune {ENCODER} {SHARES}"
READOUT = f"python -m bench.downstream.readouts {ENCODER}"
LONGER = (
    "python -m bench.downstream.longer_training runs/starter/pretrain/catlip-seed0 --data "
    "starter:data/starter"
)


def transfer_sections(main: Setting | None, records: Records) -> list[Section]:
    """All sections on what an encoder is worth, in the order of the page."""
    return [
        Section("worth", "What it is worth", _worth(main, records)),
        *dense_sections(main, records),
        Section("few-labels", "What it is worth with little data", _few_labels(main, records)),
        Section("transfer-init", "What Transfer Init adds", _transfer_init(main, records)),
        Section("longer-training", "What longer training is worth", _longer(main, records)),
    ]


def _worth(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "Encoders are compared by what their features do on tasks they were not trained for: a "
        "linear classifier on frozen "
        "features (linear probe, LP), training the whole encoder further (fine-tuning, FT), and "
        "reading classes out without "
        "training anything. The paper's Table 1 is further below, at its own scale: the two are "
        "not to be read across."
    )
    blocks: list[Block] = [Text(words)]
    for i, found in enumerate(by_scale(records, main, *FORMS)):
        blocks += worth_table(found, found[0].scale, suffix(i))
    kinds = {record.kind for record in records.found}
    missing = {
        "linear_probe": ("No linear probe has been recorded.", PROBE),
        "finetune": ("Nothing was fine-tuned.", FINETUNE),
    }
    for kind, (said, command) in missing.items():
        blocks += to_fill(said, command) if kind not in kinds else []
    read = []
    for i, found in enumerate(by_scale(records, main, "readout")):
        read += readout_table(
            [*found, *_beside(records, found[0], "linear_probe")], found[0].scale, suffix(i)
        )
    return [*blocks, *(read or to_fill("Nothing was read out without training.", READOUT))]


def _few_labels(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "How much of a task's training data does an encoder save? Each point trains on a share of "
        "it, from the frozen encoder "
        "(linear probe) or with all of it (fine-tuning), and is tested on all test images. A "
        "classifier starts at random or "
        "from the rows that CatLIP's pre-training learnt for the same nouns (Transfer Init), which "
        "CLIP does not have."
    )
    blocks: list[Block] = [Text(words)]
    commands = {"linear_probe": ("No probe with less than all data was recorded.", PROBE)}
    commands["finetune"] = ("Nothing was fine-tuned with less than all data.", FINETUNE)
    for kind, (said, command) in commands.items():
        scales = enumerate(by_scale(records, main, kind))
        figures = [
            figure
            for i, found in scales
            for figure in share_figures(found, kind, found[0].scale, suffix(i))
        ]
        blocks += side_by_side(figures) or to_fill(said, command)
    return blocks


def _transfer_init(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "A label of a new task is looked for among the nouns of pre-training, and its classifier "
        "starts from the row of the "
        "noun that is found. If that helps, it is where few images say what a class looks like. A "
        "pair differs in nothing but "
        "the start."
    )
    blocks: list[Block] = []
    for i, found in enumerate(by_scale(records, main, *FORMS)):
        scale = found[0].scale
        sentences = [Text(sentence) for sentence in gain_sentences(found)]
        blocks += [
            *sentences,
            *gain_table(found, scale, suffix(i)),
            *origin_tables(found, scale, suffix(i)),
        ]
    for i, found in enumerate(by_scale(records, main, "transfer_options")):
        blocks += option_tables(found, suffix(i))
    return [
        Text(words),
        *(blocks or to_fill("No classifier started from rows of pre-training.", PROBE)),
    ]


def _longer(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "In the paper's Figure 4, CatLIP goes on improving with more epochs on CC3M where CLIP "
        "does not, and reaches the same "
        "accuracy with less compute. Here it is the accuracy of a linear probe on frozen features "
        "as pre-training goes on."
    )
    blocks: list[Block] = []
    for i, found in enumerate(by_scale(records, main, "longer_training")):
        blocks += side_by_side(longer_figures(found, found[0].scale, suffix(i)))
    return [Text(words), *(blocks or to_fill("No encoder was probed along its training.", LONGER))]


def _beside(records: Records, record: Record, kind: str) -> Sequence[Record]:
    """The records of another kind from the same root and scale."""
    return [
        other
        for other in records.of(kind)
        if (other.root, other.scale) == (record.root, record.scale)
    ]
