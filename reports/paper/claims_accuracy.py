"""Evidence on the paper's claims that CatLIP is as good as CLIP, and better with scale."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from bench.downstream.dense.result import Dense, Detection, Multilabel, Segmentation
from bench.downstream.probe.crossed import between_probes
from bench.downstream.probe.result import (
    Finetune,
    LinearProbe,
    OnTasks,
    Transferred,
    agreed,
    in_percent,
    runs_of,
)
from catlip.method_style import name_of
from catlip.pretraining.result import Pretrain
from catlip.results.estimate import Estimate, beats, of_pairs
from catlip.results.likeness import alike
from catlip.results.pretrained import ENCODERS, RESOLUTIONS, SCALES
from catlip.results.run import Run, of_kind
from catlip.results.seeds import by_seed, link, means_by
from catlip.table import shown
from reports.paper.evidence import Compared, Evidence, Levels, Trained, paired

DENSE: dict[str, type[Dense]] = {kind.kind: kind for kind in (Multilabel, Segmentation, Detection)}
MEASURES = {  # kind -> the measures that count
    "multilabel": ("mAP",),
    "segmentation": ("mIoU",),
    "detection": ("box AP", "mask AP"),
}
ON_TASKS: dict[str, type[OnTasks]] = {kind.kind: kind for kind in (LinearProbe, Finetune)}
PUBLISHED = {"multilabel": "COCO", "segmentation": "ADE20k", "detection": "COCO"}
LAST = 0.1  # fraction of a training; its loss is compared with that of the same fraction before it


def measures_of(group: Trained, kind: str) -> Mapping[str, str]:
    """The tasks or measures of a kind of transfer that count, with their titles."""
    if kind not in DENSE:
        return group.tasks
    own = [record for record in group.of(DENSE[kind]) if not record.measured.overfit]
    if own and all(record.measured.is_published() for record in own):
        return {name: f"{PUBLISHED[kind]} {name}" for name in MEASURES[kind]}
    return {name: f"{name}{_sizes(own)}" for name in MEASURES[kind]}


def _sizes(records: Sequence[Run[Dense]]) -> str:
    """` of 21 classes on 400 images`, as far as the records agree."""
    classes = agreed(record.measured.num_classes for record in records)
    images = agreed(record.measured.num_val for record in records)
    said = f" of {shown(classes, 0)} classes" if classes is not None else ""
    return f"{said} on {shown(images, 0)} images" if images is not None else said


def of_seeds(group: Trained, kind: str, method: str, *, name: str) -> dict[int, Run[Transferred]]:
    """Seed of pre-training -> its first record with this accuracy whose classifier started at
    random; at the paper's scale, only records at the paper's resolution.
    """
    first: dict[int, Run[Transferred]] = {}
    records: list[Run[Transferred]] = []
    at_scale = group.scale in SCALES
    if kind in DENSE:
        for dense in group.of(DENSE[kind], method):
            if not dense.measured.overfit and (dense.measured.is_published() or not at_scale):
                records.append(dense)
    else:
        records += group.of(ON_TASKS[kind], method)
    for record in records:
        setup = record.setup
        fits = not at_scale or setup.recipe.resolution == RESOLUTIONS[kind]
        has_value = record.measured.accuracies().get(name) is not None
        if setup.init != "transfer" and fits and has_value and record.seed is not None:
            first.setdefault(record.seed, record)
    return first


def as_good(groups: Sequence[Trained], kind: str) -> Iterator[Evidence]:
    """CatLIP - CLIP, in points, on every metric that both have, over pairs with the same seed and
    the same recipe of transfer. A method that does not beat an untrained encoder cannot be judged.
    """
    for group in groups:
        compared, sources = [], dict[str, Run]()
        for name, title in measures_of(group, kind).items():
            first = of_seeds(group, kind, "catlip", name=name)
            second = of_seeds(group, kind, "clip", name=name)
            shared = [seed for seed in sorted(first) if seed in second]
            seeds = [seed for seed in shared if first[seed].told_key == second[seed].told_key]
            if not seeds:
                continue
            ours, theirs = [first[seed] for seed in seeds], [second[seed] for seed in seeds]
            estimate = _difference(ours, theirs, kind, name=name)
            untrained = _untrained(groups, group, kind, name=name)
            near = [
                name_of(method)
                for method, own in (("catlip", ours), ("clip", theirs))
                if not beats(_values(own, name), untrained)
            ]
            if near and estimate:
                estimate = Estimate(estimate.value, pairs=estimate.pairs)
                title += f" ({' and '.join(near)} cannot be told from an untrained encoder)"
            compared.append(Compared(title, estimate))
            sources |= {one.path: one for one in ours}
        if compared:
            yield Evidence(compared, "", group.caveats, anchor=link([*sources.values()]))


def _difference(
    ours: Sequence[Run[Transferred]],
    theirs: Sequence[Run[Transferred]],
    kind: str,
    *,
    name: str,
) -> Estimate | None:
    """The mean difference over seeds and test images if the records have a bit for each image, else
    over seeds.
    """
    if kind == LinearProbe.kind:
        difference = between_probes(of_kind(ours, LinearProbe), of_kind(theirs, LinearProbe), name)
        if difference:
            return difference
    values = zip(_values(ours, name), _values(theirs, name), strict=True)
    return of_pairs([one - other for one, other in values])


def _untrained(groups: Sequence[Trained], group: Trained, kind: str, *, name: str) -> list[float]:
    """Accuracies, in %, of encoders with random weights under the same root and scale."""
    untrained: list[float] = []
    for other in groups:
        if (other.root, other.scale) == (group.root, group.scale):
            untrained += _values(of_seeds(other, kind, "random", name=name).values(), name)
    return untrained


def _values(records: Iterable[Run[Transferred]], name: str) -> list[float]:
    """The records' accuracies, in %; a record without one is left out."""
    values = (in_percent(record, name) for record in records)
    return [value for value in values if value is not None]


def larger_data_helps(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The accuracy of an encoder pre-trained on DataComp-1.3B minus that of the same encoder
    pre-trained on CC3M.
    """
    by_key = {(group.root, group.scale, group.encoder): group for group in groups}
    for small in groups:
        large = by_key.get((small.root, "datacomp", small.encoder))
        if small.scale != "cc3m" or small.encoder not in ENCODERS or large is None:
            continue
        low, high = accuracies(small), accuracies(large)
        compared = [
            Compared(what, of_pairs(paired(high[what], low[what]))) for what in low if what in high
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
        own = {g.encoder: g for g in theirs if (g.root, g.scale) == (root, scale)}
        by_size = {name: own[encoder] for encoder, name in ENCODERS.items() if encoder in own}
        levels = {name: values for name, group in by_size.items() if (values := levels_of(group))}
        first: Levels = next(iter(levels.values()), {})
        shared = [what for what in first if all(what in other for other in levels.values())]
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
        f"{title}, {way}": dict(zip(first, _values(first.values(), name), strict=True))
        for kind, way in (("linear_probe", "linear probe"), ("finetune", "fine-tuning"))
        for name, title in measures_of(group, kind).items()
        if (first := of_seeds(group, kind, "catlip", name=name))
    }


def with_one_percent(group: Trained) -> Levels:
    """Accuracies, in %, of CatLIP's linear probes that start at random and see 1 % of a task's
    training data.
    """
    runs = [run for record in group.of(LinearProbe, "catlip") for run in runs_of(record)]
    few = [run for run in runs if run.asked == 1 and run.init == "random"]
    levels = {}
    for task, title in group.tasks.items():
        means = means_by((run.record.seed, run.top1) for run in few if run.task == task)
        if means:
            levels[f"{title}, 1 % of the data"] = _named(means)
    return levels


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


def _last_fall(record: Run) -> float | None:
    """How much lower the loss is in the last tenth than in the tenth before; None where it was
    logged too rarely.
    """
    loss = record.series("loss")
    n = int(LAST * len(loss))
    return fmean(loss[-2 * n : -n]) - fmean(loss[-n:]) if len(loss) >= 2 / LAST else None
