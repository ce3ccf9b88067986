"""The section on multi-label classification, segmentation and detection: Tables 3 to 5 at the scale
of the records.

A record of kind `multilabel`, `segmentation` or `detection` holds one training. A training that was
tested on the few images it was trained on only shows that the harness can learn; such trainings
have a table of their own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from bench.downstream.dense.pictures import contact_sheet, picture_figures
from bench.downstream.dense.result import Dense, Detection, Multilabel, Segmentation
from bench.downstream.probe.result import (
    Finetune,
    LinearProbe,
    Transferred,
    accuracy_of,
    agreed,
    in_percent,
    method_cell,
    methods_of,
)
from catlip.data.scenes_result import Scenes
from catlip.method_style import name_of
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.likeness import alike, unlike
from catlip.results.rules import by_scale, suffix
from catlip.results.run import Records, Run, Setting
from catlip.results.seeds import seed_differences
from catlip.table import Cell, Table, listed, number_cell, shown, sign_of

KINDS = {
    "multilabel": "multi-label classification",
    "segmentation": "segmentation",
    "detection": "detection",
}
FIXED, SLIDING = "mIoU", "mIoU, sliding window"
MEASURES = {  # kind -> measure -> title; sentences compare the first measure
    "multilabel": {"mAP": "Labels, mAP", "micro mAP": "Labels, micro mAP"},
    "segmentation": {FIXED: "Segmentation, mIoU", SLIDING: "The same, sliding window"},
    "detection": {
        "box AP": "Boxes, AP",
        "mask AP": "Masks, AP",
        "box AP of any class": "Boxes of any class, AP",
    },
}
DATA = {"multilabel": "coco", "segmentation": "ade20k", "detection": "coco"}
FULL = "./run_all.sh --full"


def command_of(kind: str) -> str:
    """The command that records a run of this kind on the starter's scenes."""
    data = f"--data {DATA[kind]}:data/starter-scenes/{DATA[kind]}"
    return f"python -m bench.downstream.{kind} --encoder runs/starter/pretrain/catlip-seed0 {data}"


def dense_sections(main: Setting | None, records: Records) -> list[Section]:
    """The section on tasks with several answers for each image."""
    words = (
        "Tasks with several answers for each image: the encoder is trained further with a "
        "linear classifier (multi-label), with DeepLabv3 of mmsegmentation, and as the backbone of "
        "detectron2's Mask R-CNN. Within a task every encoder gets the same images in the same "
        "order, the same recipe and the same number of steps."
    )
    blocks: list[Block] = [Text(words)]
    trained = by_scale(records, main, Multilabel, Segmentation, Detection)
    predicted = {of[0].scale: picture_figures(of, suffix(i)) for i, of in enumerate(trained)}
    for i, own in enumerate(by_scale(records, main, Scenes)):
        if not predicted.get(own[0].scale):
            blocks += side_by_side(contact_sheet(own[0], suffix(i)))
    for i, of in enumerate(trained):
        learnt = [record for record in of if record.measured.overfit]
        real = [record for record in of if not record.measured.overfit]
        blocks += map(Text, [*gain_sentences(real), *other_encoders(real, records)])
        blocks += dense_table(real, suffix(i))
        blocks += side_by_side(predicted[of[0].scale])
        blocks += overfit_table(learnt, suffix(i))
    recorded = {record.kind for record in records.every}
    missing = [kind for kind in KINDS if kind not in recorded]
    if missing == [*KINDS]:
        blocks += to_fill("No dense transfer has been recorded.", FULL)
    else:
        for kind in missing:
            blocks += to_fill(f"There is no record of {KINDS[kind]}.", command_of(kind))
    return [Section("dense", "Labels, masks and boxes", blocks)]


def _tells(records: Sequence[Run[Dense]], kind: str, measure: str) -> bool:
    """Whether any record has the measure; a sliding window must also differ from the fixed one in
    some record.
    """
    own = [record for record in records if record.kind == kind]
    values = [_reached(record, measure) for record in own]
    is_again = measure == SLIDING and values == [_reached(record, FIXED) for record in own]
    return any(value is not None for value in values) and not is_again


def dense_table(records: Sequence[Run[Dense]], suffix: str = "") -> list[Table]:
    """One row for each method, and another with Transfer Init if it was run; one column for each
    measure.
    """
    columns = [
        (kind, measure, title)
        for kind, measures in MEASURES.items()
        for measure, title in measures.items()
        if _tells(records, kind, measure)
    ]
    rows = []
    for method in methods_of(records):
        own = [r for r in records if r.method == method]
        name = method_cell(method).text
        starts = {
            name: [r for r in own if r.setup.init != "transfer"],
            f"{name}, Transfer Init": [r for r in own if r.setup.init == "transfer"],
        }
        for row_name, runs in starts.items():
            cells = [
                _cell([r for r in runs if r.kind == kind], measure, records)
                for kind, measure, _ in columns
            ]
            if any(cell.quantity for cell in cells):
                rows.append([Cell(row_name), *cells])
    if not rows:
        return []
    titles = ["Method", *(f"{title} (%)" for _, _, title in columns)]
    title = f"Tables 3 to 5's form at {records[0].scale} scale"
    return [Table(f"dense{suffix}", title, titles, rows=rows, caption=_caption(records))]


def _cell(own: Sequence[Run[Dense]], measure: str, records: Sequence[Run[Dense]]) -> Cell:
    """The mean over the seeds of one method's runs that have the most common recipe."""
    there = [record for record in own if _reached(record, measure) is not None]
    kept = alike(there, [record for record in records if there and record.kind == there[0].kind])
    return replace(accuracy_of(kept.records, measure), remarks=kept.remarks)


def _reached(record: Run[Dense], measure: str) -> float | None:
    return in_percent(record, measure)


def _caption(records: Sequence[Run[Dense]]) -> str:
    said = [
        "Mean ± sample standard deviation over n seeds of pre-training. mAP is the mean over "
        "classes of the average precision."
    ]
    for kind, name in KINDS.items():
        own = [record for record in records if record.kind == kind]
        sizes = agreed(tuple(record.measured.sizes().values()) for record in own)
        if sizes:
            train, val, classes = (shown(size, 0) for size in sizes)
            said.append(
                f"{name.capitalize()}: {classes} classes, {train} training and {val} test images."
            )
        if fields := unlike(own):
            said.append(
                f"Beware: the runs of {name} do not all have the same recipe: they differ in "
                f"{listed(fields)}."
            )
    return " ".join(said)


def gain_sentences(records: Sequence[Run[Dense]]) -> list[str]:
    """Whether pre-training helps, one sentence for each task: each method against an untrained
    encoder of the same seed.
    """
    said = []
    for kind, measures in MEASURES.items():
        measure, title = next(iter(measures.items()))
        own = [r for r in records if r.kind == kind and r.setup.init != "transfer"]
        untrained = [r for r in own if r.method == "random"]
        parts = []
        for method in methods_of(own):
            gains = gains_over([r for r in own if r.method == method], untrained, measure)
            if gains and method != "random":
                parts.append(_gain(name_of(method), gains))
        if parts:
            said.append(f"{title}: {'; '.join(parts)}.")
    return said


def gains_over(
    records: Sequence[Run[Dense]], base: Sequence[Run[Dense]], measure: str
) -> list[float]:
    """The difference of a measure between `records` and `base`, in points, for each seed that both
    have. All runs are of one recipe, the one with the most seeds; repeated runs of a seed are
    averaged.
    """
    base_keys = {record.told_key for record in base}
    gains: list[list[float]] = []
    for key in dict.fromkeys(r.told_key for r in records if r.told_key in base_keys):
        one, other = ([r for r in own if r.told_key == key] for own in (records, base))
        gains.append(seed_differences(one, other, lambda r: _reached(r, measure)))
    return max(gains, key=len, default=[])


def _gain(name: str, gains: Sequence[float]) -> str:
    """The gains in words; a gain counts as above zero only if it is after rounding for display."""
    better = sum(sign_of(gain) > 0 for gain in gains)
    mean = f"{shown(sum(gains) / len(gains), 1)} points on average"
    seeds = f"{len(gains)} seed{'s' * (len(gains) != 1)}"
    if better == len(gains):
        return f"{name} is above random init in each of {seeds}, by {mean}"
    if better == 0:
        return f"{name} is not above random init in any of {seeds} ({mean})"
    return f"{name} is above random init in {better} of {seeds} only ({mean})"


def other_encoders(records: Sequence[Run[Dense]], every: Records) -> list[str]:
    """A warning if encoders have the method and seed of probed ones under the same root and scale,
    but other weights.
    """
    where = {(record.root, record.scale) for record in records}
    transferred: list[Run[Transferred]] = [*every.of(LinearProbe), *every.of(Finetune)]
    probed = _digests(r for r in transferred if (r.root, r.scale) in where)
    trained = _digests(records)
    other = [
        encoder for encoder in trained if encoder in probed and trained[encoder] != probed[encoder]
    ]
    if not other:
        return []
    shared = sum(encoder in probed for encoder in trained)
    return [
        f"Beware: {len(other)} of {shared} encoders here are not those that were probed and "
        "fine-tuned above: same method and seed, but other weights. Compare within this section."
    ]


def _digests(records: Iterable[Run[Transferred]]) -> dict[tuple[str, int | None], set[str]]:
    """Method and seed of an encoder trained here -> the digests of its weights."""
    digests: dict[tuple[str, int | None], set[str]] = {}
    for record in records:
        if record.method != "random" and (digest := record.measured.encoder_digest):
            digests.setdefault((record.method, record.seed), set()).add(digest)
    return digests


def overfit_table(records: Sequence[Run[Dense]], suffix: str = "") -> list[Table]:
    """What each harness reaches on the few images that it was trained on."""
    rows = []
    for record in sorted(records, key=lambda record: [*KINDS].index(record.kind)):
        losses = record.rows("loss", tuple[float, float])  # step, loss
        first, last = (losses[0][1], losses[-1][1]) if losses else (None, None)
        training = [
            Cell(KINDS[record.kind].capitalize()),
            number_cell(record.measured.overfit, 0, record.anchor),
            number_cell(first, None, record.anchor),
            number_cell(last, None, record.anchor),
        ]
        for measure, title in MEASURES[record.kind].items():
            if (value := _reached(record, measure)) is not None:
                rows.append([*training, Cell(title), number_cell(value, 1, record.anchor)])
    if not rows:
        return []
    columns = ["Harness", "Images", "First loss", "Last loss", "Metric", "Reached (%)"]
    caption = (
        "Trained and tested on the same few images: this tests gradients, targets and decoding, "
        "and says nothing about an encoder."
    )
    title = "Can each harness learn a few images exactly?"
    return [Table(f"dense_overfit{suffix}", title, columns, rows=rows, caption=caption)]
