"""Evidence on the paper's claims that CatLIP is as good as CLIP, and better with scale."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from catlip.kinds import (
    Dense,
    Detection,
    Finetune,
    LinearProbe,
    Multilabel,
    OnTasks,
    Pretrain,
    Segmentation,
    Transferred,
)
from catlip.kinds.estimate import Estimate, beats, of_pairs
from catlip.method_style import name_of
from catlip.table import shown
from reports.compare.crossed import between_probes
from reports.paper.evidence import Compared, Evidence, Trained, paired
from reports.read.likeness import alike
from reports.read.measured import by_seed, means_by
from reports.read.pretrained import ENCODERS, RESOLUTIONS, SCALES
from reports.read.records import Record, of_kind
from reports.summary.tables import link
from reports.transfer.transfer_runs import agreed, percent, runs_of, same_recipe

DENSE: dict[str, type[Dense]] = {kind.kind: kind for kind in (Multilabel, Segmentation, Detection)}
MEASURES = {  # kind -> the measures that count
    "multilabel": ("mAP",),
    "segmentation": ("mIoU",),
    "detection": ("box AP", "mask AP"),
}
ON_TASKS: dict[str, type[OnTasks]] = {kind.kind: kind for kind in (LinearProbe, Finetune)}
PUBLISHED = {"multilabel": "COCO", "segmentation": "ADE20k", "detection": "COCO"}
LAST = 0.1  # fraction of a training; its loss is compared with that of the same fraction before it
Levels = Mapping[str, Mapping[int, float]]  # what was measured -> seed -> value


def measures_of(group: Trained, kind: str) -> Mapping[str, str]:
    """The tasks or measures of a kind of transfer that count, with their titles."""
    if kind not in DENSE:
        return group.tasks
    own = [record for record in group.of(DENSE[kind]) if not record.measured.overfit]
    if own and all(record.measured.is_published() for record in own):
        return {name: f"{PUBLISHED[kind]} {name}" for name in MEASURES[kind]}
    return {name: f"{name}{_sizes(own)}" for name in MEASURES[kind]}


def _sizes(records: Sequence[Record[Dense]]) -> str:
    """` of 21 classes on 400 images`, as far as the records agree."""
    classes = agreed(record.measured.num_classes for record in records)
    images = agreed(record.measured.num_val for record in records)
    said = f" of {shown(classes, 0)} classes" if classes is not None else ""
    return f"{said} on {shown(images, 0)} images" if images is not None else said


def of_seeds(
    group: Trained, kind: str, method: str, *, name: str
) -> dict[int, Record[Transferred]]:
    """Seed of pre-training -> its first record with this accuracy whose classifier started at
    random; at the paper's scale, only records at the paper's resolution.
    """
    first: dict[int, Record[Transferred]] = {}
    records: list[Record[Transferred]] = []
    if kind in DENSE:
        dense = group.of(DENSE[kind], method)
        records += [r for r in dense if not r.measured.overfit and _is_at_scale(group, r)]
    else:
        records += group.of(ON_TASKS[kind], method)
    for record in records:
        setup = record.setup
        fits = group.scale not in SCALES or setup.recipe.resolution == RESOLUTIONS[kind]
        has_value = record.measured.accuracies().get(name) is not None
        if setup.init != "transfer" and fits and has_value and record.seed is not None:
            first.setdefault(record.seed, record)
    return first


def _is_at_scale(group: Trained, record: Record[Dense]) -> bool:
    """Whether a record is of the published data set; always True below the paper's scale."""
    return group.scale not in SCALES or record.measured.is_published()


def as_good(groups: Sequence[Trained], kind: str) -> Iterator[Evidence]:
    """CatLIP - CLIP, in points, on every metric that both have, over pairs with the same seed and
    the same recipe of transfer. A method that does not beat an untrained encoder cannot be judged.
    """
    for group in groups:
        compared, sources = [], dict[str, Record]()
        for name, title in measures_of(group, kind).items():
            ours = of_seeds(group, kind, "catlip", name=name)
            theirs = of_seeds(group, kind, "clip", name=name)
            pairs = [
                (one, theirs[seed])
                for seed, one in sorted(ours.items())
                if seed in theirs and same_recipe([one, theirs[seed]])
            ]
            if not pairs:
                continue
            estimate = _difference(pairs, kind, name)
            untrained = _untrained(groups, group, kind, name=name)
            near = [
                name_of(method)
                for method, side in (("catlip", 0), ("clip", 1))
                if not beats([_value(pair[side], name) for pair in pairs], untrained)
            ]
            if near and estimate:
                estimate = Estimate(estimate.value, pairs=estimate.pairs)
                title += f" ({' and '.join(near)} cannot be told from an untrained encoder)"
            compared.append(Compared(title, estimate))
            sources |= {one.path: one for one, _ in pairs}
        if compared:
            yield Evidence(compared, "", group.caveats, anchor=link([*sources.values()]))


def _difference(
    pairs: Sequence[tuple[Record[Transferred], Record[Transferred]]], kind: str, name: str
) -> Estimate | None:
    """The mean difference over seeds and test images if the records have a bit for each image, else
    over seeds.
    """
    ours, theirs = [one for one, _ in pairs], [other for _, other in pairs]
    if kind == LinearProbe.kind:
        difference = between_probes(of_kind(ours, LinearProbe), of_kind(theirs, LinearProbe), name)
        if difference:
            return difference
    return of_pairs([_value(one, name) - _value(other, name) for one, other in pairs])


def _untrained(groups: Sequence[Trained], group: Trained, kind: str, *, name: str) -> list[float]:
    """Accuracies, in %, of encoders with random weights under the same root and scale."""
    alike = [other for other in groups if (other.root, other.scale) == (group.root, group.scale)]
    untrained = [of_seeds(other, kind, "random", name=name).values() for other in alike]
    return [_value(record, name) for records in untrained for record in records]


def _value(record: Record[Transferred], name: str) -> float:
    value = percent(record.measured.accuracies().get(name))
    return math.nan if value is None else value


def larger_data_helps(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The accuracy of an encoder pre-trained on DataComp-1.3B minus that of the same encoder
    pre-trained on CC3M.
    """
    for small in (group for group in groups if group.scale == "cc3m" and group.encoder in ENCODERS):
        for large in (
            g
            for g in groups
            if (g.root, g.scale, g.encoder) == (small.root, "datacomp", small.encoder)
        ):
            low, high = accuracies(small), accuracies(large)
            compared = [
                Compared(what, of_pairs(paired(high[what], low[what])))
                for what in low
                if what in high
            ]
            if compared:
                caveats = tuple(dict.fromkeys(small.caveats + large.caveats))
                yield Evidence(compared, "", caveats, anchor=link(large.of(Pretrain, "catlip")))


def larger_encoder_helps(
    groups: Sequence[Trained], levels_of: Callable[[Trained], Levels], unit: str = "points"
) -> Iterator[Evidence]:
    """Each encoder minus the next smaller one of its root and scale, on everything that all of them
    have.
    """
    theirs = [group for group in groups if group.encoder in ENCODERS]
    for root, scale in dict.fromkeys((group.root, group.scale) for group in theirs):
        own = {
            group.encoder: group for group in theirs if (group.root, group.scale) == (root, scale)
        }
        by_size = {name: own[encoder] for encoder, name in ENCODERS.items() if encoder in own}
        levels = {name: levels_of(group) for name, group in by_size.items() if levels_of(group)}
        shared = [
            what
            for what in next(iter(levels.values()), {})
            if all(what in other for other in levels.values())
        ]
        if len(levels) > 1 and shared:
            compared = [
                Compared(
                    f"{what}, {small} to {large}",
                    of_pairs(paired(levels[large][what], levels[small][what])),
                    unit,
                )
                for what in shared
                for small, large in pairwise(levels)
            ]
            caveats = tuple(dict.fromkeys(c for g in by_size.values() for c in g.caveats))
            last = [*by_size.values()][-1]
            yield Evidence(compared, "", caveats, anchor=link(last.of(Pretrain, "catlip")))


def accuracies(group: Trained) -> Levels:
    """CatLIP's accuracies on every task, of linear probes and of fine-tuning, in %."""
    return {
        f"{title}, {way}": {seed: _value(record, name) for seed, record in first.items()}
        for kind, way in (("linear_probe", "linear probe"), ("finetune", "fine-tuning"))
        for name, title in measures_of(group, kind).items()
        if (first := of_seeds(group, kind, "catlip", name=name))
    }


def with_one_percent(group: Trained) -> Levels:
    """Accuracies, in %, of CatLIP's linear probes that start at random and see 1 % of a task's
    training data.
    """
    runs = [run for record in group.of(LinearProbe, "catlip") for run in runs_of(record)]
    own = {
        task: [run for run in runs if run.asked == 1 and run.init == "random" and run.task == task]
        for task in group.tasks
    }
    return {
        f"{group.tasks[task]}, 1 % of the data": _named(
            means_by((run.record.seed, run.top1) for run in few)
        )
        for task, few in own.items()
        if few
    }


def negative_loss(group: Trained) -> Levels:
    """CatLIP's final loss with its sign changed, so that higher is better."""
    own = group.of(Pretrain, "catlip")
    losses = by_seed(alike(own, own).records, lambda r: r.measured.final_loss)
    named = _named({seed: -loss for seed, loss in losses.items()})
    return {"decrease of the final loss": named} if named else {}


def _named(by_seed: Mapping[int | None, float]) -> dict[int, float]:
    """The values whose seed is known."""
    return {seed: value for seed, value in by_seed.items() if seed is not None}


def loss_still_falls(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """How much lower the mean loss is in a training's last tenth than in the tenth before."""
    for group in groups:
        records = group.of(Pretrain, "catlip")
        falls = list(by_seed(records, _last_fall).values())
        if falls:
            compared = [Compared("decrease in the last tenth", of_pairs(falls), "nats", decimals=2)]
            yield Evidence(compared, "", group.caveats, anchor=link(records))


def _last_fall(record: Record) -> float | None:
    """How much lower the loss is in the last tenth than in the tenth before; None where it was
    logged too rarely.
    """
    loss = record.series("loss")
    n = int(LAST * len(loss))
    return fmean(loss[-2 * n : -n]) - fmean(loss[-n:]) if len(loss) >= 2 / LAST else None
