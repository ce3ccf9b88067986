"""How the paper's claims that CatLIP is as good as CLIP, and better with scale, are judged."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

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
from catlip.table import mean_and_spread, quantity_of, shown
from reports.paper.evidence import (
    Evidence,
    Trained,
    beyond_spread,
    combined,
    every_pair,
    not_lower,
    rising,
    signed,
)
from reports.read.likeness import alike
from reports.read.measured import by_seed, means_by
from reports.read.pretrained import ENCODERS, RESOLUTIONS, SCALES
from reports.read.records import Record
from reports.summary.tables import link
from reports.transfer.transfer_runs import agreed, percent, runs_of, same_recipe

DENSE: dict[str, type[Dense]] = {kind.kind: kind for kind in (Multilabel, Segmentation, Detection)}
MEASURES = {  # that count, of each kind
    "multilabel": ("mAP",),
    "segmentation": ("mIoU",),
    "detection": ("box AP", "mask AP"),
}
ON_TASKS: dict[str, type[OnTasks]] = {kind.kind: kind for kind in (LinearProbe, Finetune)}
PUBLISHED = {"multilabel": "COCO", "segmentation": "ADE20k", "detection": "COCO"}
LAST = 0.1  # of a training: its loss is compared with that of as much before it
Levels = Mapping[str, Sequence[float]]  # what was measured -> a value a seed


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
    """Seed of pre-training -> its first record with this accuracy, from a random classifier, at the
    paper's resolution.
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
    """Whether it is of the published data set, where the encoder is at the paper's scale."""
    return group.scale not in SCALES or record.measured.is_published()


def as_good(groups: Sequence[Trained], kind: str) -> Iterator[Evidence]:
    """CatLIP - CLIP, in points, of every metric that both have: pairs of the same seed and recipe
    of transfer.
    """
    for group in groups:
        outcomes, said, sources = [], [], dict[str, Record]()
        for name, title in measures_of(group, kind).items():
            ours = of_seeds(group, kind, "catlip", name=name)
            theirs = of_seeds(group, kind, "clip", name=name)
            pairs = [
                (ours[s], theirs[s])
                for s in sorted(ours)
                if s in theirs and same_recipe([ours[s], theirs[s]])
            ]
            if points := [_value(one, name) - _value(other, name) for one, other in pairs]:
                outcomes.append(not_lower(points))
                said.append(f"{title} {signed(points)}")
                sources |= {one.path: one for one, _ in pairs}
        if said:
            words = f"CatLIP - CLIP: {'; '.join(said)}."
            yield Evidence(
                combined(outcomes), words, group.caveats, anchor=link([*sources.values()])
            )


def _value(record: Record[Transferred], name: str) -> float:
    value = percent(record.measured.accuracies().get(name))
    return math.nan if value is None else value


def larger_data_helps(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The same encoder reaches more on each task from DataComp-1.3B than from CC3M, beyond the
    spread over seeds.
    """
    for small in (group for group in groups if group.scale == "cc3m" and group.encoder in ENCODERS):
        for large in (
            g
            for g in groups
            if (g.root, g.scale, g.encoder) == (small.root, "datacomp", small.encoder)
        ):
            low, high = accuracies(small), accuracies(large)
            shared = [what for what in low if what in high]
            outcomes = [
                beyond_spread(quantity_of(high[what]), quantity_of(low[what])) for what in shared
            ]
            if shared:
                said = "; ".join(
                    f"{what}: CC3M {_level(low[what])}, DataComp-1.3B {_level(high[what])}"
                    for what in shared
                )
                caveats = tuple(dict.fromkeys(small.caveats + large.caveats))
                yield Evidence(
                    combined(outcomes),
                    f"{said}.",
                    caveats,
                    anchor=link(large.of(Pretrain, "catlip")),
                )


def larger_encoder_helps(
    groups: Sequence[Trained], levels_of: Callable[[Trained], Levels]
) -> Iterator[Evidence]:
    """Each encoder is above the next smaller one of its root and scale, in everything that all of
    them have.
    """
    theirs = [group for group in groups if group.encoder in ENCODERS]
    for root, scale in dict.fromkeys((group.root, group.scale) for group in theirs):
        own = {
            group.encoder: group for group in theirs if (group.root, group.scale) == (root, scale)
        }
        found = {name: own[encoder] for encoder, name in ENCODERS.items() if encoder in own}
        levels = {name: levels_of(group) for name, group in found.items() if levels_of(group)}
        shared = [
            what
            for what in next(iter(levels.values()), {})
            if all(what in other for other in levels.values())
        ]
        if len(levels) > 1 and shared:
            outcomes = [rising([other[what] for other in levels.values()]) for what in shared]
            said = [
                f"{what}: {', '.join(f'{name} {_level(of[what])}' for name, of in levels.items())}"
                for what in shared
            ]
            caveats, last = (
                tuple(dict.fromkeys(c for g in found.values() for c in g.caveats)),
                [*found.values()][-1],
            )
            yield Evidence(
                combined(outcomes),
                f"{'; '.join(said)}.",
                caveats,
                anchor=link(last.of(Pretrain, "catlip")),
            )


def accuracies(group: Trained) -> Levels:
    """CatLIP's on every task, of linear probes and of fine-tuning, in %."""
    return {
        f"{title}, {way}": [_value(record, name) for record in first.values()]
        for kind, way in (("linear_probe", "LP"), ("finetune", "FT"))
        for name, title in measures_of(group, kind).items()
        if (first := of_seeds(group, kind, "catlip", name=name))
    }


def with_one_percent(group: Trained) -> Levels:
    """CatLIP's linear probes on 1 % of a task's training data, from a random classifier, in %."""
    runs = [run for record in group.of(LinearProbe, "catlip") for run in runs_of(record)]
    own = {
        task: [run for run in runs if run.asked == 1 and run.init == "random" and run.task == task]
        for task in group.tasks
    }
    return {
        f"{group.tasks[task]}, 1 % of the data": list(
            means_by((run.record.seed, run.top1) for run in found).values()
        )
        for task, found in own.items()
        if found
    }


def negative_loss(group: Trained) -> Levels:
    """What rises as CatLIP's final loss falls."""
    own = group.of(Pretrain, "catlip")
    losses = by_seed(alike(own, own).records, lambda r: r.measured.final_loss)
    found = [-loss for loss in losses.values()]
    return {"minus the final loss (nats per image)": found} if found else {}


def loss_still_falls(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """In every training the mean loss of the last tenth is below that of the tenth before."""
    for group in groups:
        records = group.of(Pretrain, "catlip")
        falls = list(by_seed(records, _last_fall).values())
        if falls:
            said = (
                "The last tenth is lower than the tenth before by "
                f"{signed(falls, 'nats per image', 2)}."
            )
            yield Evidence(every_pair(falls, decimals=2), said, group.caveats, anchor=link(records))


def _last_fall(record: Record) -> float | None:
    """How much lower the loss is in the last tenth than in the tenth before; None where it was
    logged too rarely.
    """
    loss = record.series("loss")
    n = int(LAST * len(loss))
    return _mean(loss[-2 * n : -n]) - _mean(loss[-n:]) if len(loss) >= 2 / LAST else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _level(values: Sequence[float]) -> str:
    found = quantity_of(values)
    return f"{mean_and_spread(found, 1)} (n = {found.n})" if found else shown(None)
