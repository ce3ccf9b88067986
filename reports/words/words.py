"""The page's sections on captions and labels: what captions contain, how near their classes are to
other data sets' labels, how often labels are right, how fast they are made, and where the
vocabulary is cut.

Each scale has tables of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import TypeVar

from bench.label_accuracy.result import accuracy_blocks
from bench.labelling.result import labelling_section
from bench.study.result import threshold_section
from catlip.label.audit_result import LabelAudit, verdict_table
from catlip.label.examples_figure import example_figure
from catlip.label.examples_result import Examples
from catlip.label.labels_table import labels_table
from catlip.label.result import Labelling
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.figures import Figure
from catlip.results.kind import Kind
from catlip.results.run import Records, Run, of_kind
from catlip.results.select import MOST, by_rule, by_scale, suffix
from catlip.vocabulary.figures import vocabulary_figures
from catlip.vocabulary.overlap import overlap_figures
from catlip.vocabulary.result import VocabularyCounts, VocabularyStatistics, overlap_table
from reports.read.measured import Setting

LABEL = "python -m catlip.label data/starter/pretrain --rule paper --labels-dir runs/starter/labels"
STATISTICS = (
    "python -m catlip.vocabulary stats runs/starter/vocabulary.json --against imagenet coco ade20k"
)
AUDIT = (
    "python -m catlip.label audit data/starter/pretrain --rule paper --labels-dir "
    "runs/starter/labels"
)
K = TypeVar("K", bound=Kind)


def word_sections(main: Setting | None, records: Records) -> list[Section]:
    """All sections on captions and labels, in the order of the page; a section without records
    shows the command that would fill it.
    """
    return [
        Section("vocabulary", "Captions and vocabulary", _captions(main, records)),
        Section("overlap", "Labels of other data sets in the vocabulary", _overlap(main, records)),
        Section(
            "labels",
            "Are the labels right?",
            [*accuracy_blocks(main, records), *_audit(main, records)],
        ),
        labelling_section(main, records),
        threshold_section(main, records),
    ]


def _captions(main: Setting | None, records: Records) -> list[Block]:
    blocks: list[Block] = []
    for i, own in enumerate(by_scale(records, main, Examples)):
        blocks += side_by_side(example_figure(own[0], suffix(i)))
    kinds = (VocabularyStatistics, VocabularyCounts, Labelling)
    for i, labelled in enumerate(by_scale(records, main, *kinds)):
        scale = labelled[0].scale
        counted: list[Run[VocabularyCounts]]
        counted = of_kind(labelled, VocabularyStatistics) or of_kind(labelled, VocabularyCounts)
        labelling: list[Run[Labelling]] = of_kind(labelled, Labelling)
        vocabularies = by_rule(counted)
        blocks += side_by_side(vocabulary_figures(vocabularies, scale, suffix(i)))
        table = labels_table(by_rule(labelling), vocabularies, scale, suffix=suffix(i))
        if table.rows:
            blocks.append(table)
    return blocks or to_fill("No caption has been labelled.", LABEL)


def _overlap(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "A label of another data set may be a class of the vocabulary, or have one near it in "
        "WordNet's graph."
    )
    blocks: list[Block] = []
    for i, own in enumerate(by_scale(records, main, VocabularyStatistics)):
        rules, scale = by_rule(own), own[0].scale
        blocks += side_by_side(overlap_figures(rules, scale, suffix(i)))
        blocks += overlap_table(rules, scale, suffix(i))
    return [Text(words), *(blocks or to_fill("Not run.", STATISTICS))]


def _audit(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "What each rule drops most, and what it may keep wrongly, counted over the captions "
        "themselves:"
    )
    blocks: list[Block] = []
    for i, own in enumerate(by_scale(records, main, LabelAudit)):
        blocks += verdict_table(by_rule(own), own[0].scale, suffix(i))
    if not blocks:
        return to_fill("What each rule drops most was not counted.", AUDIT)
    return [Text(words), *blocks]


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
