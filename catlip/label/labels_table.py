"""How each rule labels the same captions, and what its vocabulary keeps."""

from collections.abc import Iterable, Mapping

from catlip.label.result import Labelling, rule_rank
from catlip.results.run import Run
from catlip.table import MISSING, Cell, Table, clipped, number_cell, share_cell, shown
from catlip.vocabulary.result import VocabularyCounts

MOST_CAUSES = 8
IMAGENET_CLASSES = 1000


def labels_table(
    labelling: Mapping[str, Run[Labelling]],
    vocabularies: Mapping[str, Run[VocabularyCounts]],
    scale: str,
    suffix: str = "",
) -> Table:
    """Captions, labels and classes, one column per rule.

    Args:
        labelling, vocabularies: rule -> its run. If a rule has no run of labelling, the numbers of
            its labels are taken from its vocabulary.
    """
    rules = sorted({*labelling, *vocabularies}, key=rule_rank)
    causes = dict.fromkeys(cause for run in labelling.values() for cause in run.measured.unlabelled)
    labelled = {rule: _labels_counted(run) for rule, run in vocabularies.items()}
    labelled |= {rule: _labelled(run, [*causes][:MOST_CAUSES]) for rule, run in labelling.items()}
    kept = {rule: _kept(run) for rule, run in vocabularies.items()}
    rows = []
    for by_rule in (labelled, kept):
        for name in dict.fromkeys(name for column in by_rule.values() for name in column):
            cells = [by_rule.get(rule, {}).get(name, Cell()) for rule in rules]
            if any(cell.text != MISSING for cell in cells):
                rows.append([Cell(name), *cells])
    columns = ["What", *(f"Rule {rule}" for rule in rules)]
    title = f"Captions, labels and classes, {scale} scale"
    caption = "Percentages below a number are of the captions, or of ImageNet-1k's 1,000 classes."
    return Table(f"labels{suffix}", title, columns, rows=rows, caption=caption)


def _labelled(run: Run[Labelling], causes: Iterable[str]) -> dict[str, Cell]:
    """Name of the row -> cell, with one row for each cause of a caption without a label."""
    labels, anchor, processes = run.measured, run.anchor, ""
    if isinstance(run.setup.workers, int) and run.setup.workers > 0:
        processes = f"{run.setup.workers} process{'es' * (run.setup.workers != 1)}"
    without = sum(labels.unlabelled.values()) if labels.unlabelled else None
    return {
        "captions labelled": number_cell(labels.captions, 0, anchor),
        "labels per caption": number_cell(labels.labels_per_caption, 2, anchor),
        "captions without a label": share_cell(without, labels.captions, anchor),
        **{
            f"of these: {clipped(cause)}": number_cell(labels.unlabelled.get(cause), 0, anchor)
            for cause in causes
        },
        "captions too long to be read whole": number_cell(labels.cut, 0, anchor),
        "labels on disk (bytes per caption)": number_cell(labels.bytes_per_caption, 1, anchor),
        "captions labelled per second, whole run": number_cell(
            labels.captions_per_s, 0, anchor, small=processes
        ),
    }


def _labels_counted(run: Run[VocabularyCounts]) -> dict[str, Cell]:
    counts, anchor = run.measured, run.anchor
    return {
        "labels per caption": number_cell(counts.labels_per_caption, 2, anchor),
        "captions without a label": share_cell(
            counts.captions_without_label, counts.num_captions, anchor
        ),
    }


def _kept(run: Run[VocabularyCounts]) -> dict[str, Cell]:
    counts, anchor = run.measured, run.anchor
    return {
        "captions counted for the vocabulary": number_cell(counts.num_captions, 0, anchor),
        "different synsets": number_cell(counts.unique_synsets, 0, anchor),
        "classes (synsets kept)": number_cell(counts.num_classes, 0, anchor, small=_chosen(run)),
        "ImageNet-1k classes among all synsets": share_cell(
            counts.imagenet_classes_occurring, IMAGENET_CLASSES, anchor
        ),
        "ImageNet-1k classes among the classes": share_cell(
            counts.imagenet_classes, IMAGENET_CLASSES, anchor
        ),
    }


def _chosen(run: Run[VocabularyCounts]) -> str:
    """The threshold, or the number of classes, by which the classes were chosen; older records have
    it only in their config.
    """
    chosen = run.measured
    threshold = run.setup.threshold if chosen.threshold is None else chosen.threshold
    top_k = run.setup.top_k if chosen.top_k is None else chosen.top_k
    if threshold is not None:
        return f"over {shown(threshold, 0)} times"
    return f"the {shown(top_k, 0)} most frequent" if top_k is not None else ""
