"""What encoders are worth on multi-label classification, segmentation and detection: Tables 3 to 5
at the scale of the records.

Records of kind `multilabel`, `segmentation` and `detection` hold one training each. One that learnt
ten images by heart says that a harness can learn, and stands in a table of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from catlip.method_style import name_of
from catlip.table import Cell, Table, number_cell, quantity_cell, shown, sign_of
from reports.compare.differences import listed
from reports.read.likeness import alike, unlike
from reports.read.measured import Setting, anchor_of, by_seed, over_seeds
from reports.read.records import Record, Records, as_number, number, text
from reports.read.rules import by_scale, suffix
from reports.render.blocks import Block, Section, Text, side_by_side, to_fill
from reports.transfer.dense_pictures import contact_sheet, picture_figures
from reports.transfer.transfer_runs import accuracy_of, method_cell, methods_of, percent

KINDS = {
    "multilabel": "multi-label classification",
    "segmentation": "segmentation",
    "detection": "detection",
}
METRICS = {  # of each kind, the first is what sentences compare
    "multilabel": {"map_macro": "Labels, mAP", "map_micro": "Labels, micro mAP"},
    "segmentation": {"miou_fixed": "Segmentation, mIoU", "miou_slide": "The same, sliding window"},
    "detection": {
        "box_ap": "Boxes, AP",
        "mask_ap": "Masks, AP",
        "box_ap_class_agnostic": "Boxes of any class, AP",
    },
}
DATA = {"multilabel": "coco", "segmentation": "ade20k", "detection": "coco"}
FULL = "./run_all.sh --full"


def command_of(kind: str) -> str:
    """What records a run of this kind on the starter's scenes."""
    data = f"--data {DATA[kind]}:data/starter-scenes/{DATA[kind]}"
    return f"python -m bench.downstream.{kind} --encoder runs/starter/pretrain/catlip-seed0 {data}"


def dense_sections(main: Setting | None, records: Records) -> list[Section]:
    """The section on tasks with several answers an image."""
    words = (
        "Which labels, where, and exactly which pixels: the encoder is trained further with a "
        "linear classifier "
        "(multi-label), with DeepLabv3 of mmsegmentation, and as the backbone of detectron2's Mask "
        "R-CNN. Within a task every "
        "encoder gets the same images in the same order, the same recipe and the same number of "
        "steps."
    )
    blocks: list[Block] = [Text(words)]
    for i, found in enumerate(by_scale(records, main, "scenes")):
        blocks += side_by_side(contact_sheet(found[0], suffix(i)))
    for i, found in enumerate(by_scale(records, main, *KINDS)):
        learnt = [record for record in found if number(record.metrics, "overfit")]
        real = [record for record in found if record not in learnt]
        blocks += [
            *map(Text, [*gain_sentences(real), *other_encoders(real, records)]),
            *dense_table(real, suffix(i)),
            *side_by_side(picture_figures(real, suffix(i))),
        ]
        blocks += [*class_tables(real, suffix(i)), *overfit_table(learnt, suffix(i))]
    missing = [kind for kind in KINDS if not records.of(kind)]
    if missing == [*KINDS]:
        blocks += to_fill("No dense transfer has been recorded.", FULL)
    else:
        blocks += [
            block
            for kind in missing
            for block in to_fill(f"There is no record of {KINDS[kind]}.", command_of(kind))
        ]
    return [Section("dense", "What it is worth for labels, masks and boxes", blocks)]


def dense_table(records: Sequence[Record], suffix: str = "") -> list[Table]:
    """A row a method, and one where its classifier started by Transfer Init; a column a metric."""
    shown_metrics = [
        (kind, metric, title)
        for kind, metrics in METRICS.items()
        for metric, title in metrics.items()
        if any(percent(r.metrics, metric) is not None for r in records if r.kind == kind)
    ]
    rows = []
    for method in methods_of(records):
        for is_transferred in (False, True):
            own = [
                r
                for r in records
                if r.method == method and (text(r.config, "init") == "transfer") == is_transferred
            ]
            cells = [
                _cell([r for r in own if r.kind == kind], metric, records)
                for kind, metric, _ in shown_metrics
            ]
            if any(cell.quantity for cell in cells):
                name = (
                    f"{method_cell(method).text}, Transfer Init"
                    if is_transferred
                    else method_cell(method).text
                )
                rows.append([Cell(name), *cells])
    if not rows:
        return []
    columns = ["Method", *(f"{title} (%)" for _, _, title in shown_metrics)]
    title = f"Tables 3 to 5 in form, at {records[0].scale} scale"
    return [Table(f"dense{suffix}", title, columns, rows, _caption(records))]


def _cell(own: Sequence[Record], metric: str, records: Sequence[Record]) -> Cell:
    """The mean over the seeds of one method's runs that have the recipe of most."""
    there = [record for record in own if percent(record.metrics, metric) is not None]
    kept = alike(there, [record for record in records if there and record.kind == there[0].kind])
    return replace(accuracy_of(kept.records, metric), remarks=kept.remarks)


def _caption(records: Sequence[Record]) -> str:
    said = [
        (
            "Mean ± sample standard deviation over n seeds of pre-training. mAP is the mean over "
            "classes of the average precision."
        )
    ]
    for kind, name in KINDS.items():
        own = [record for record in records if record.kind == kind]
        sizes = {
            tuple(number(r.metrics, key) for key in ("num_train", "num_val", "num_classes"))
            for r in own
        }
        if len(sizes) == 1 and None not in (size := sizes.pop()):
            train, val, classes = (shown(value, 0) for value in size)
            said.append(
                f"{name.capitalize()}: {classes} classes, {train} training and {val} test images."
            )
        if fields := unlike(own):
            said.append(
                f"Beware: the runs of {name} do not all have the same recipe: they differ in "
                f"{listed(fields)}."
            )
    return " ".join(said)


def gain_sentences(records: Sequence[Record]) -> list[str]:
    """Whether pre-training helps: each method beside an untrained encoder of the same seed, a
    sentence a task.
    """
    said = []
    for kind, metrics in METRICS.items():
        metric, title = next(iter(metrics.items()))
        own = [r for r in records if r.kind == kind and text(r.config, "init") != "transfer"]
        parts = []
        for method in [method for method in methods_of(own) if method != "random"]:
            gains = gains_over(
                [r for r in own if r.method == method],
                [r for r in own if r.method == "random"],
                metric,
            )
            if gains:
                parts.append(_gain(name_of(method), gains))
        if parts:
            said.append(f"{title}: {'; '.join(parts)}.")
    return said


def gains_over(records: Sequence[Record], base: Sequence[Record], metric: str) -> list[float]:
    """The difference of a metric in points, a seed each, of runs of one recipe alone; a seed's
    repeated runs are averaged.
    """
    keys = {
        record.told_key: None
        for record in records
        if any(record.told_key == other.told_key for other in base)
    }
    found: list[dict[int | None, float]] = []
    for key in keys:
        sides = ([r for r in own if r.told_key == key] for own in (records, base))
        one, other = (by_seed(own, lambda r: percent(r.metrics, metric)) for own in sides)
        found.append(
            {seed: one[seed] - other[seed] for seed in one if seed is not None and seed in other}
        )
    return list(max(found, key=len, default={}).values())


def _gain(name: str, gains: Sequence[float]) -> str:
    """Above is what is above as far as it is shown."""
    better, mean = (
        sum(sign_of(gain) > 0 for gain in gains),
        f"{shown(sum(gains) / len(gains), 1)} points on average",
    )
    seeds = f"{len(gains)} seed{'s' * (len(gains) != 1)}"
    if better == len(gains):
        return f"{name} is above random init in each of {seeds}, by {mean}"
    if better == 0:
        return f"{name} is not above random init in any of {seeds} ({mean})"
    return f"{name} is above random init in {better} of {seeds} only ({mean})"


def other_encoders(records: Sequence[Record], every: Records) -> list[str]:
    """A warning where encoders have the names of those that were probed under the same root and
    scale, and other weights.
    """
    where = {(record.root, record.scale) for record in records}
    probed = _digests(
        r for r in (*every.of("linear_probe"), *every.of("finetune")) if (r.root, r.scale) in where
    )
    trained = _digests(records)
    other = [
        encoder for encoder in trained if encoder in probed and trained[encoder] != probed[encoder]
    ]
    if not other:
        return []
    shared = sum(encoder in probed for encoder in trained)
    words = (
        "trained by the same recipe and seed, but not the very weights, that were probed and "
        "fine-tuned above"
    )
    return [
        f"Beware: {len(other)} of {shared} encoders here are {words}. Compare within this section."
    ]


def _digests(records: Iterable[Record]) -> dict[tuple[str, int | None], set[str]]:
    """Method and seed of an encoder trained here -> the digests of its weights."""
    found: dict[tuple[str, int | None], set[str]] = {}
    for record in records:
        if record.method != "random" and (digest := text(record.metrics, "encoder_digest")):
            found.setdefault((record.method, record.seed), set()).add(digest)
    return found


PER_CLASS = {
    "multilabel": ("ap_by_class", "average precision"),
    "segmentation": ("iou_fixed", "IoU"),
    "detection": ("box_ap_by_class", "box AP"),
}
MOST_CLASSES = 200


def class_tables(records: Sequence[Record], suffix: str = "") -> list[Table]:
    """What every class reaches, a column a method; folded."""
    tables = []
    for kind, (samples, what) in PER_CLASS.items():
        own = [r for r in records if r.kind == kind and text(r.config, "init") != "transfer"]
        names = own[0].samples.get("classes") if own else None
        if not isinstance(names, list) or any(r.samples.get("classes") != names for r in own):
            continue
        methods = methods_of(own)
        rows = []
        for place, name in enumerate(names[:MOST_CLASSES]):
            at = partial(_at, samples=samples, place=place)
            values = [over_seeds((r for r in own if r.method == method), at) for method in methods]
            rows.append([Cell(str(name)[:40]), *(quantity_cell(value, 1) for value in values)])
        title = f"Each class of {KINDS[kind]}, {what} (%), {own[0].scale} scale"
        tables.append(
            Table(
                f"dense_{kind}{suffix}", title, ["Class", *map(name_of, methods)], rows, folded=True
            )
        )
    return tables


def _at(record: Record, samples: str, place: int) -> float | None:
    values = record.samples.get(samples)
    found = as_number(values[place]) if isinstance(values, list) and place < len(values) else None
    return 100 * found if found is not None and 0 <= found <= 1 else None


def overfit_table(records: Sequence[Record], suffix: str = "") -> list[Table]:
    """What each harness reaches on the images that it learnt by heart."""
    rows = []
    for record in sorted(records, key=lambda record: [*KINDS].index(record.kind)):
        steps = record.samples.get("loss")
        losses = (
            [row[-1] for row in steps if isinstance(row, list) and row]
            if isinstance(steps, list)
            else []
        )
        first, last = (as_number(losses[at]) if losses else None for at in (0, -1))
        for metric, title in METRICS[record.kind].items():
            if (value := percent(record.metrics, metric)) is not None:
                anchor = anchor_of(record)
                rows.append(
                    [
                        Cell(KINDS[record.kind].capitalize()),
                        number_cell(number(record.metrics, "overfit"), 0, anchor),
                        number_cell(first, None, anchor),
                        number_cell(last, None, anchor),
                        Cell(title),
                        number_cell(value, 1, anchor),
                    ]
                )
    columns = ["Harness", "Images", "Loss at first", "Loss at last", "Metric", "Reached (%)"]
    caption = (
        "Trained and tested on the same few images: gradients, targets and decoding work, and "
        "nothing is said of an encoder."
    )
    title = "Can each harness learn a few images by heart?"
    return [Table(f"dense_overfit{suffix}", title, columns, rows, caption)] if rows else []
