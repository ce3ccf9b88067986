"""Quantities over seeds for each method, from the records of one setting.

A *setting* is one scale under one root, such as `runs/starter`, so runs from here are never
averaged with records that were brought from elsewhere. Accuracy is averaged over all devices of the
setting. Times are averaged only over the device that most trainings ran on, and no ratio mixes the
costs of different devices.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import PurePath
from typing import TypeVar

from bench.downstream.probe.result import (
    PLURALS,
    LinearProbe,
    accuracy_in_percent,
    score_of,
    score_on,
    short_task_title,
    task_title,
    tasks_by_importance,
)
from bench.step_time.result import PACKED, StepTime
from bench.study.result import best_clip
from catlip.data.layout import FASHION_MNIST
from catlip.label.result import Examples
from catlip.pretraining.result import Pretrain
from catlip.records.estimate import Score
from catlip.records.kind import Kind
from catlip.records.run import Records, Run, select_kind
from catlip.records.select import (
    Comparable,
    architecture,
    are_enough,
    differing_settings,
    keep_common_recipe,
    means_by_seed,
    quantity_over_seeds,
    saw_as_many_images,
)
from catlip.records.styles import CATLIP, CLIPS, is_ours, ordered
from catlip.records.table import Quantity, quantity_of
from reports.pairs import Pairs, pair_up
from reports.read.differences import HEADING_OF, Difference, differences

MAX_FIRST = 3  # tasks on the first screen
K = TypeVar("K", bound=Kind)


@dataclass(frozen=True, eq=False)
class Setting:
    """The records of one scale under one root."""

    root: str
    scale: str
    records: tuple[Run, ...]

    def of(self, kind: type[K], method: str | None = None) -> list[Run[K]]:
        """The records of a kind; if a method is given, only the records of that method."""
        return select_kind(self.records, kind, method)

    @cached_property
    def methods(self) -> list[str]:
        """Every method that was trained or probed here, in the order of the page."""
        probed = [*self.of(Pretrain), *self.of(LinearProbe)]
        return ordered(r.method for r in probed if is_ours(r.method))

    @cached_property
    def clip(self) -> str:
        """The CLIP that CatLIP is compared with: the one that is best on validation of those that
        were probed, or else trained, or else timed here.
        """
        timed = [method for run in self.of(StepTime) for method in run.metrics.methods]
        groups = [[run.method for run in self.of(kind)] for kind in (LinearProbe, Pretrain)]
        groups += [[run.method for run in self.records], timed]
        methods = next((group for group in groups if {*group} & {*CLIPS}), [])
        return best_clip(methods, self.records)

    @property
    def pair(self) -> tuple[str, str]:
        """CatLIP and the CLIP that it is compared with."""
        return CATLIP, self.clip

    @cached_property
    def tasks(self) -> list[str]:
        """The tasks that encoders were probed on. First those of the probe that is named after its
        encoder (`run_all.sh` names further probes after their data), last those that `run_all.sh`
        adds; among these, the most important first.
        """
        probed_by: dict[str, set[str]] = {}
        probes = [record for record in self.of(LinearProbe) if is_ours(record.method)]
        for record in probes:
            for task, accuracy in record.metrics.accuracies().items():
                if accuracy is not None:
                    probed_by.setdefault(task, set()).add(record.method)
        main = [record for record in probes if PurePath(record.config.encoder).name == record.name]
        asked = {task for record in main for task in record.metrics.tasks}

        def rank(task: str) -> tuple[bool, bool, bool]:
            is_far = task in (*PLURALS, FASHION_MNIST) and task not in asked
            return not probed_by[task] >= {*self.pair}, is_far, task not in asked

        return sorted(tasks_by_importance(probed_by, probes), key=rank)

    @property
    def first_tasks(self) -> list[str]:
        return self.tasks[:MAX_FIRST]

    @property
    def is_answered(self) -> bool:
        return any(all(self.accuracy(m, task) for m in self.pair) for task in self.tasks[:1])

    def title(self, task: str) -> str:
        """`435 concepts`, or `ImageNet-1k`."""
        return task_title(self.of(LinearProbe), task)

    def name(self, task: str) -> str:
        """`concepts`, or `ImageNet-1k`."""
        return short_task_title(self.of(LinearProbe), task)

    @cached_property
    def differences(self) -> list[Difference]:
        """CatLIP minus each other method in every experiment, in the order of the page."""
        return differences(self.records, self.clip, self.step_time)

    @cached_property
    def device(self) -> str:
        """The device that most trainings ran on; without any, most timings, or else most runs."""
        runs: list[Run] = [*self.of(Pretrain)] or [*self.of(StepTime)] or [*self.records]
        return Counter(r.device for r in runs).most_common(1)[0][0] if runs else ""

    def accuracy(self, method: str, task: str) -> Quantity | None:
        """Linear-probe accuracy on a task, in percent, over the seeds of pre-training."""
        return quantity_of(self.accuracies(method, task).values())

    def accuracies(self, method: str, task: str) -> dict[int | None, float]:
        """Seed of pre-training -> linear-probe accuracy on a task, in percent."""
        return means_by_seed(
            self.probes(method, task).records, lambda r: accuracy_in_percent(r, task)
        )

    @cache  # noqa: B019
    def probes(self, method: str, task: str) -> Comparable[LinearProbe]:
        """The linear probes that a method's accuracy on a task is averaged over: all of one recipe,
        and of encoders of one recipe.
        """

        def counts(probe: Run[LinearProbe]) -> bool:  # also if its training is not here
            encoder = PurePath(probe.config.encoder.removesuffix(":raw")).name
            return (probe.method, encoder) not in self._left_out

        every = [r for r in self.of(LinearProbe) if task in r.metrics.tasks]
        probes = [r for r in every if r.method == method]
        probes = [*filter(counts, probes)] or probes
        return keep_common_recipe(
            probes, [r for r in every if is_ours(r.method) and counts(r)], task
        )

    @cached_property
    def _left_out(self) -> set[tuple[str, str]]:
        kept = {r.path for method in self.methods for r in self.counted(method).records}
        return {(r.method, r.name) for r in self.of(Pretrain) if r.path not in kept}

    @cache  # noqa: B019
    def counted(self, method: str) -> Comparable[Pretrain]:
        """The trainings of a method that count: those of its most common recipe."""
        trained = self.of(Pretrain, method)
        return keep_common_recipe(trained, trained)

    def trainings(self, method: str) -> list[Run[Pretrain]]:
        """The trainings of a method that count, on this setting's device."""
        return [r for r in self.counted(method).records if r.device == self.device]

    @cached_property
    def timed(self) -> dict[str, list[Run[Pretrain]]]:
        """Method -> its trainings whose times count: those that no other busy program disturbed."""
        every = {method: self.trainings(method) for method in self.methods}
        quiet = {
            method: [r for r in runs if not r.environment.busy] for method, runs in every.items()
        }
        return {m: kept for m, kept in quiet.items() if kept and are_enough(kept, every[m])}

    def seconds(self, method: str) -> Quantity | None:
        """A method's training time in seconds over seeds; None if no times count."""
        return quantity_over_seeds(
            self.timed.get(method, ()), lambda record: record.metrics.train_seconds
        )

    def unlike_trainings(self, clip: str) -> list[str]:
        """The fields that make the trainings of CatLIP and this CLIP not comparable."""
        one, other = (self.counted(method).records[:1] for method in (CATLIP, clip))
        fields = [
            field
            for a, b in zip(one, other, strict=False)
            for field in ("encoder", "resolution")
            if a.recipe.get(field) != b.recipe.get(field)
        ]
        seen = [run.metrics.images_seen for run in (*one, *other)]
        if len(seen) == 2 and not saw_as_many_images(*seen):
            fields.append("the number of images seen")
        return fields

    def differing_settings(self, task: str) -> list[str]:
        """The fields that make the probes of CatLIP and CLIP not comparable."""
        first, second = (self.probes(method, task).records for method in self.pair)
        return self.unlike_trainings(self.clip) + (
            differing_settings([*first, *second], task) if first and second else []
        )

    def paired(self, task: str, images: Sequence[int] | None = None) -> Pairs[int | None]:
        """The probes of CatLIP and CLIP on a task, or on some of its test images, by seed; empty
        if they are not comparable.
        """
        if self.differing_settings(task):
            return Pairs([], [], [])

        def score(run: Run[LinearProbe]) -> Score | None:
            if run.seed is None or accuracy_in_percent(run, task) is None:
                return None
            whole = score_of(run, task)
            return whole if images is None else score_on(whole, images)

        return pair_up(*(means_by_seed(self.probes(m, task).records, score) for m in self.pair))

    @cached_property
    def _timed(self) -> list[Run[StepTime]]:
        """Step times on this setting's device, then those on others of its type, the plainest
        comparisons first: a ratio is of one record, which names its device.
        """
        on_cpu = {run.is_cpu for run in self.of(Pretrain)}
        timed = [r for r in self.of(StepTime) if r.metrics.methods]
        same_type = [r for r in timed if not on_cpu or r.is_cpu in on_cpu]
        return sorted(plainest_first(same_type), key=lambda run: run.device != self.device)

    @property
    def step_time(self) -> Run[StepTime] | None:
        """The record of step times of this setting's encoder, or else of another."""
        encoder = next((r.config.recipe.encoder for r in self.of(Pretrain)), "")
        first = next(iter(self._timed), None)
        return next((r for r in self._timed if r.config.model == encoder), first)

    @property
    def larger_step_time(self) -> Run[StepTime] | None:
        """The timing of the paper's smallest encoder, ViT B/16, beside that of a smaller one."""
        is_small = self.step_time is not None and not is_vit_b16(self.step_time)
        return next(filter(is_vit_b16, self._timed), None) if is_small else None


def is_vit_b16(run: Run[StepTime]) -> bool:
    return architecture(run.config.model) == "vit_b16"


def plainest_first(timed: Iterable[Run[StepTime]]) -> list[Run[StepTime]]:
    """First the step times of CatLIP and CLIP in turns, on one device, not sharded, without a
    loader; among these, first those with CLIP's captions packed, then compiled ones, then the
    newest.
    """

    def rank(run: Run[StepTime]) -> tuple[bool | str, ...]:
        pairs, config = run.metrics.ratios, run.config
        return (
            any(f"{clip}/{CATLIP}" in pairs for clip in CLIPS),
            (run.metrics.world_size or 1) == 1,
            config.parallel != "fsdp",
            not config.data,
            any(PACKED in pair for pair in pairs),
            config.compile,
            run.environment.started,
        )

    return sorted(timed, key=rank, reverse=True)


def settings(records: Records) -> list[Setting]:
    """Every setting with a training, a test or a timing, in the order of the given roots. Within a
    root, settings that compare CatLIP and CLIP come first, then settings with pictures of their
    data, then the user's data before the starter's.
    """
    roots = list(dict.fromkeys(r.root for r in records.every))
    groups: dict[tuple[str, str], list[Run]] = {}
    for record in records.every:
        groups.setdefault((record.root, record.scale), []).append(record)
    every = [
        Setting(root, scale, tuple(runs))
        for (root, scale), runs in groups.items()
        if any(record.kind in ("pretrain", "step_time", *HEADING_OF) for record in runs)
    ]
    return sorted(
        every,
        key=lambda s: (
            roots.index(s.root),
            not s.is_answered,
            not s.of(Examples),
            s.scale == "starter",
            s.scale,
        ),
    )
