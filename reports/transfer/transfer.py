"""The page's sections on what an encoder is worth: on new tasks, with little data, with Transfer
Init.

Each section is a function of the records of a few kinds. Each scale has tables and figures of its
own. The paper's tables are in another section. A section without records shows the command that
would fill it.
"""

from collections.abc import Sequence

from bench.downstream.dense.figures import dense_sections
from bench.downstream.probe.few_labels import share_figures
from bench.downstream.probe.result import Finetune, LinearProbe, OnTasks, Readout
from bench.downstream.probe.tables import readout_table, worth_table
from bench.downstream.probe.transfer_gain import gain_sentences, gain_table
from bench.downstream.probe.transfer_options_result import TransferOptions, transfer_options_table
from bench.downstream.probe.transfer_origins import origin_sentences
from bench.study.lengths_result import Scaling, scaling_figures, scaling_section
from bench.study.result import robustness_section, tuning_section
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.rules import by_scale, suffix
from catlip.results.run import Records, Run
from reports.read.measured import Setting
from reports.summary.plots import accuracy_figure

ENCODER = "--encoder runs/starter/pretrain/catlip-seed0 --data starter:data/starter"
FRACTIONS = "--fraction 0.05 0.1 0.25 0.5 1 --init random transfer"
PROBE = f"python -m bench.downstream.linear_probe {ENCODER} {FRACTIONS}"
FINETUNE = f"python -m bench.downstream.finetune {ENCODER} {FRACTIONS}"
READOUT = f"python -m bench.downstream.readouts {ENCODER}"


def transfer_sections(main: Setting | None, records: Records) -> list[Section]:
    """All sections on what an encoder is worth, in the order of the page."""
    return [
        Section("worth", "Probes and fine-tuning", _worth(main, records)),
        *dense_sections(main, records),
        Section("few-labels", "Little data", _few_labels(main, records)),
        Section("transfer-init", "Transfer Init", _transfer_init(main, records)),
        scaling_section(main, records),
        robustness_section(main, records),
        tuning_section(main, records),
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
