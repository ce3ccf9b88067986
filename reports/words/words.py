"""The page's sections on captions and labels: what captions contain, how near their classes are to
other data sets' labels, how often labels are right, how fast they are made, and where the
vocabulary is cut.

Each scale has tables of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import TypeVar

from bench.label_accuracy.figures import accuracy_figures
from bench.label_accuracy.result import LabelAccuracy, accuracy_table
from bench.labelling.figures import speed_figure
from bench.labelling.result import LabellingSpeed, command_table, per_core_table
from bench.studies.threshold_figures import threshold_figures
from bench.studies.threshold_result import Threshold, threshold_table
from catlip.label.result import audit_blocks
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.caveats import with_warning
from catlip.results.figures import Figure
from catlip.results.kind import Kind
from catlip.results.rules import MOST, by_scale, suffix
from catlip.results.run import Records, Run
from catlip.table import Table
from catlip.vocabulary.result import overlap_section, vocabulary_section
from reports.read.measured import Setting

ACCURACY = "python -m bench.label_accuracy"
SPEED = "python -m bench.labelling --memory 100000 1000000 10000000"
THRESHOLD = (
    "python -m bench.threshold --shards data/starter/pretrain --labels-dir runs/starter/labels "
    "--probe starter:data/starter --seeds 0 1 --out runs/starter/threshold/threshold.json"
)
K = TypeVar("K", bound=Kind)


def word_sections(main: Setting | None, records: Records) -> list[Section]:
    """All sections on captions and labels, in the order of the page; a section without records
    shows the command that would fill it.
    """
    return [
        vocabulary_section(main, records),
        overlap_section(main, records),
        Section(
            "labels",
            "Are the labels right?",
            [*_accuracy(main, records), *audit_blocks(main, records)],
        ),
        Section("labelling-speed", "How fast captions are labelled", _speed(main, records)),
        Section("threshold", "Where to cut the vocabulary", _threshold(main, records)),
    ]


def _accuracy(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "Every rule assumes that a noun is meant in its first sense. Here each rule labels "
        "sentences whose class is known. They are easy sentences: on captions from the web, expect "
        "lower accuracy."
    )
    return _each(
        by_scale(records, main, LabelAccuracy),
        (accuracy_figures, accuracy_table),
        words,
        missing="How often labels are right was not measured.",
        command=ACCURACY,
    )


def _speed(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "The same labels, made in several ways in turns on one core; then the whole command, by "
        "number of processes."
    )
    scales = by_scale(records, main, LabellingSpeed)
    return _each(scales, (speed_figure, _speed_tables), words, command=SPEED)


def _speed_tables(record: Run[LabellingSpeed], end: str) -> list[Table]:
    tables = [*per_core_table(record, end), *command_table(record, end)]
    return [with_warning(table, [record]) for table in tables]


def _threshold(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "A low threshold keeps rare synsets as classes; a high one leaves captions without labels."
    )
    scales = by_scale(records, main, Threshold)
    return _each(scales, (threshold_figures, _threshold_table), words, command=THRESHOLD)


def _threshold_table(record: Run[Threshold], end: str) -> list[Table]:
    return threshold_table(record, record.scale, end)


def _each(
    scales: Iterable[Sequence[Run[K]]],
    parts: Sequence[Callable[[Run[K], str], Sequence[Block | Figure]]],
    words: str,
    *,
    command: str,
    missing: str = "Not run.",
) -> list[Block]:
    """The blocks that `parts` make of each of the first records, figures side by side; without any,
    what is missing and the command that would record it.
    """
    blocks: list[Block] = []
    for i, record in enumerate(islice(chain.from_iterable(scales), MOST)):
        for part in parts:
            blocks_of = part(record, suffix(i))
            blocks += side_by_side([f for f in blocks_of if isinstance(f, Figure)])
            blocks += [block for block in blocks_of if not isinstance(block, Figure)]
    return [Text(words), *(blocks or to_fill(missing, command))]
