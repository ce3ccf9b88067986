"""How the paper's claims that CatLIP is as good as CLIP, and better with scale, are judged."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from catlip.kinds import Pretrain
from catlip.table import mean_and_spread, shown
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
from reports.read.measured import by_seed, means_by, summarise
from reports.read.pretrained import ENCODERS, RESOLUTIONS, SCALES
from reports.read.records import Record, number, text
from reports.summary.tables import link
from reports.transfer.transfer_runs import is_published_dense, percent, runs_of, same_recipe

DENSE = {
    "multilabel": {"map_macro": "mAP"},
    "segmentation": {"miou_fixed": "mIoU"},
    "detection": {"box_ap": "box AP", "mask_ap": "mask AP"},
}
PUBLISHED = {"multilabel": "COCO", "segmentation": "ADE20k", "detection": "COCO"}
LAST = 0.1  # of a training: its loss is compared with that of as much before it
Levels = Mapping[str, Sequence[float]]  # what was measured -> a value a seed


def metrics_of(group: Trained, kind: str) -> Mapping[str, str]:
    """The metrics of a kind of transfer that count, with their titles."""
    if kind not in DENSE:
        return {f"{task}_top1": title for task, title in group.tasks.items()}
    own = [r for r in group.of(kind) if not number(r.metrics, "overfit")]
    if own and all(map(is_published_dense, own)):
        return {metric: f"{PUBLISHED[kind]} {title}" for metric, title in DENSE[kind].items()}
    return {metric: f"{title}{_sizes(own)}" for metric, title in DENSE[kind].items()}


def _sizes(records: Sequence[Record]) -> str:
    """` of 21 classes on 400 images`, as far as the records agree."""
    both = [
        {number(r.metrics, key) for r in records} - {None} for key in ("num_classes", "num_val")
    ]
    classes, images = (shown(found.pop(), 0) if len(found) == 1 else "" for found in both)
    return (f" of {classes} classes" if classes else "") + (
        f" on {images} images" if images else ""
    )


def of_seeds(group: Trained, kind: str, method: str, metric: str) -> dict[int, Record]:
    """Seed of pre-training -> its first record with the metric, from a random classifier, at the
    paper's resolution.
    """
    found: dict[int, Record] = {}
    for record in group.of(kind, method):
        is_plain = text(record.config, "init") != "transfer" and not number(
            record.metrics, "overfit"
        )
        fits = group.scale not in SCALES or record.setup.recipe.resolution == RESOLUTIONS[kind]
        fits = fits and (
            group.scale not in SCALES or kind not in DENSE or is_published_dense(record)
        )
        if (
            is_plain
            and fits
            and record.seed is not None
            and percent(record.metrics, metric) is not None
        ):
            found.setdefault(record.seed, record)
    return found


def as_good(groups: Sequence[Trained], kind: str) -> Iterator[Evidence]:
    """CatLIP - CLIP, in points, of every metric that both have: pairs of the same seed and recipe
    of transfer.
    """
    for group in groups:
        outcomes, said, sources = [], [], dict[str, Record]()
        for metric, title in metrics_of(group, kind).items():
            ours, theirs = (of_seeds(group, kind, method, metric) for method in ("catlip", "clip"))
            pairs = [
                (ours[s], theirs[s])
                for s in sorted(ours)
                if s in theirs and same_recipe([ours[s], theirs[s]])
            ]
            if points := [_value(one, metric) - _value(other, metric) for one, other in pairs]:
                outcomes.append(not_lower(points))
                said.append(f"{title} {signed(points)}")
                sources |= {one.path: one for one, _ in pairs}
        if said:
            words = f"CatLIP - CLIP: {'; '.join(said)}."
            yield Evidence(combined(outcomes), words, group.caveats, link([*sources.values()]))


def _value(record: Record, metric: str) -> float:
    value = percent(record.metrics, metric)
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
                beyond_spread(summarise(high[what]), summarise(low[what])) for what in shared
            ]
            if shared:
                said = "; ".join(
                    f"{what}: CC3M {_level(low[what])}, DataComp-1.3B {_level(high[what])}"
                    for what in shared
                )
                caveats = tuple(dict.fromkeys(small.caveats + large.caveats))
                yield Evidence(
                    combined(outcomes), f"{said}.", caveats, link(large.of(Pretrain, "catlip"))
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
                link(last.of(Pretrain, "catlip")),
            )


def accuracies(group: Trained) -> Levels:
    """CatLIP's on every task, of linear probes and of fine-tuning, in %."""
    return {
        f"{title}, {way}": [_value(record, metric) for record in found.values()]
        for kind, way in (("linear_probe", "LP"), ("finetune", "FT"))
        for metric, title in metrics_of(group, kind).items()
        if (found := of_seeds(group, kind, "catlip", metric))
    }


def with_one_percent(group: Trained) -> Levels:
    """CatLIP's linear probes on 1 % of a task's training data, from a random classifier, in %."""
    runs = [run for record in group.of("linear_probe", "catlip") for run in runs_of(record)]
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
            yield Evidence(every_pair(falls, decimals=2), said, group.caveats, link(records))


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
    found = summarise(values)
    return f"{mean_and_spread(found, 1)} (n = {found.n})" if found else shown(None)
