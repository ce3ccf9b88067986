"""Selects which records are shown, averaged and compared.

- Shown: accelerators first, a record of each run; by device, scale or labelling rule. Numbers of
  different devices or scales are never put side by side.
- Averaged: runs of the same recipe, apart from the seed, and of data of the same size. n counts
  seeds of pre-training, not runs.
- Compared at the paper's scale: by the pre-training of a transfer record's encoder, not by the
  folder that the transfer was recorded in.
- Named in warnings: runs beside busy programs, and images that could not be read.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from catlip.records.claims import min_pairs
from catlip.records.estimate import N, mean_of
from catlip.records.figures import series_style
from catlip.records.kind import Kind
from catlip.records.run import WITHOUT_EFFECT, Records, Run, Setting, slug
from catlip.records.table import Quantity, Table, clipped, listed, quantity_of

RULES = ("paper", "corenet", "paper_multiword")


@dataclass(frozen=True, kw_only=True)
class ByRule(Kind):
    """Metrics of labels that one rule made. Older records name the rule only in their config."""

    rule: str | None = None


K = TypeVar("K", bound=Kind)
R = TypeVar("R", bound=ByRule)
MAX_SHOWN = 3  # scales, rules of a scale, and records of a bench that are shown


def unique_runs(records: Records, kind: type[K]) -> list[Run[K]]:
    """The records of a kind, accelerators first."""
    first: dict[tuple[str, str, str], Run[K]] = {}
    for record in records.of(kind):
        first.setdefault((record.scale, record.name, record.where), record)
    return sorted(first.values(), key=lambda record: record.is_cpu)


def group_by_device(records: Iterable[Run[K]]) -> dict[str, list[Run[K]]]:
    devices: dict[str, list[Run[K]]] = {}
    for record in records:
        devices.setdefault(record.where, []).append(record)
    return devices


def group_by_scale(records: Records, main: Setting | None, *kinds: type[K]) -> list[list[Run[K]]]:
    """The records of these kinds, a list for each scale; the main setting's come first."""
    chosen = [record for kind in kinds for record in records.of(kind)]
    if main:
        chosen.sort(
            key=lambda record: (
                (record.root, record.scale) != (main.root, main.scale),
                record.scale != main.scale,
            )
        )
    scales: dict[str, list[Run[K]]] = {}
    for record in chosen:
        shown = scales.setdefault(record.scale, [])
        if not shown or shown[0].root == record.root:
            shown.append(record)
    return list(scales.values())[:MAX_SHOWN]


def rule_of(run: Run[ByRule]) -> str:
    """The rule that made the labels; the record's name if the rule is not recorded."""
    return clipped(run.metrics.rule or run.config.rule or run.name, 24)


def rule_rank(rule: str) -> tuple[int, str]:
    """A sort key: the known rules first, in the order of RULES, then the others by name."""
    return (RULES.index(rule) if rule in RULES else len(RULES), rule)


def first_of_each_rule(records: Sequence[Run[R]]) -> dict[str, Run[R]]:
    """Rule -> its first record, for at most MAX_SHOWN rules, known rules first."""
    first: dict[str, Run[R]] = {}
    for record in records:
        first.setdefault(rule_of(record), record)
    return {rule: first[rule] for rule in sorted(first, key=rule_rank)[:MAX_SHOWN]}


def rule_style(rule: str) -> dict[str, str]:
    return series_style(rule_rank(rule)[0])


def suffix(index: int) -> str:
    """The ending that distinguishes the names of several tables or figures."""
    return f"_{index + 1}" if index else ""


def quantity_over_seeds(
    records: Iterable[Run[K]], value: Callable[[Run[K]], float | None]
) -> Quantity | None:
    """A value over the seeds of pre-training; n is the number of seeds, not of runs."""
    return quantity_of(means_by_seed(records, value).values())


def means_by_seed(
    records: Iterable[Run[K]], value: Callable[[Run[K]], N | None]
) -> dict[int | None, N]:
    """Seed -> the mean of a value over its runs. Runs that do not name their seed count as one."""
    groups: dict[int | None, list[N]] = {}
    for record in records:
        if (number := value(record)) is not None:
            groups.setdefault(record.seed, []).append(number)
    return {seed: mean_of(numbers) for seed, numbers in groups.items()}


def saw_as_many_images(one: float, other: float) -> bool:
    """Whether two trainings saw the same number of images, up to rounding to whole steps. A step
    is half a percent of one epoch over a few thousand images.
    """
    return math.isclose(one, other, rel_tol=1e-2)


def group_anchor(record: Run) -> str:
    """The anchor of all records of the same root, scale, kind and method."""
    return "records-" + slug(f"{record.root}/{record.scale}/{record.kind}/{record.method}")


def link(records: Sequence[Run]) -> str:
    """The anchor of one record, or of the group that several form."""
    if not records:
        return ""
    return records[0].anchor if len(records) == 1 else group_anchor(records[0])


@dataclass(frozen=True)
class Comparable(Generic[K]):
    """Runs that may be averaged, and remarks on runs that were left out or differ."""

    records: list[Run[K]]
    remarks: tuple[str, ...] = ()


def keep_common_recipe(
    runs: Sequence[Run[K]], all_runs: Sequence[Run[K]], task: str = ""
) -> Comparable[K]:
    """Select the runs of one method that have the most common recipe of all methods' runs."""
    groups = _groups(all_runs, task)
    if len(groups) < 2 or not runs:
        return Comparable(list(runs))
    common = _largest(groups)
    key = _key(common[0], task)
    kept = [record for record in runs if _key(record, task) == key]
    left_out = [record for record in runs if _key(record, task) != key]
    if not left_out:
        return Comparable(kept)
    fields = listed(differing_settings([common[0], *left_out], task))
    if kept:
        count = f"{len(left_out)} run{'s' * (len(left_out) > 1)} of another recipe"
        return Comparable(kept, (f"Left out: {count}, different in {fields}.",))
    remark = f"Not comparable: its recipe differs from most here, in {fields}."
    return Comparable(_largest(_groups(runs, task)), (remark,))


def differing_settings(records: Sequence[Run[Kind]], task: str = "") -> list[str]:
    """The fields that differ between runs, among those that must be equal for a comparison."""
    every = [
        record.settings | record.metrics.sizes(task)
        for record in {_key(r, task): r for r in records}.values()
    ]
    return differing_fields(every)


def differing_fields(recipes: Sequence[dict[str, object]]) -> list[str]:
    """The fields that differ between recipes, other than `seed` and `about`."""
    fields = dict.fromkeys(field for recipe in recipes for field in recipe)
    return [
        field
        for field in fields
        if field not in WITHOUT_EFFECT
        and any(recipe.get(field) != recipes[0].get(field) for recipe in recipes)
    ]


def _groups(records: Sequence[Run[K]], task: str) -> list[list[Run[K]]]:
    groups: dict[Hashable, list[Run[K]]] = {}
    for record in records:
        groups.setdefault(_key(record, task), []).append(record)
    return list(groups.values())


def _key(record: Run[Kind], task: str) -> Hashable:
    return (record.settings_key, *record.metrics.sizes(task).values())


def _largest(groups: Sequence[list[Run[K]]]) -> list[Run[K]]:
    return max(groups, key=lambda group: len({(record.method, record.seed) for record in group}))


# Our name of a data set -> the paper's.
SCALES = {"cc3m": "CC3M", "datacomp": "DataComp-1.3B"}
COMMITTED = "reports/records"
IMAGES = {
    "starter": "drawings",
    "photos": "photographs with sentences",
    "fashion": "product photographs",
}
SMALL_SCALES = ("starter", "photos")  # of run_all.sh
CC3M_IMAGES = 2.9e6
# Images seen, repetitions counted, in the shortest trainings of Table 6.
MIN_IMAGES = {"cc3m": 25 * CC3M_IMAGES, "datacomp": 200_000 * 65_536}
NEARLY = 0.9
ENCODERS = {"vit_b16": "ViT B/16", "vit_l16": "ViT L/16", "vit_h16": "ViT H/16"}
CONV = "_conv"  # ending of the names of encoders with the release's stem
# Side of an image, in pixels, in the paper's transfers (Appendix A). Table 2 also fine-tunes at
# 512, in rows that say so.
RESOLUTIONS = {
    "linear_probe": 224,
    "finetune": 224,
    "multilabel": 512,
    "segmentation": 512,
    "detection": 1024,
}


def architecture(encoder: str) -> str:
    """The name of an encoder without its stem: `vit_b16` for `vit_b16_conv`."""
    return encoder.removesuffix(CONV)


def is_enough(images: float, scale: str) -> bool:
    """Whether so many images are enough for the paper's scale; False for any other scale."""
    return scale in MIN_IMAGES and images >= NEARLY * MIN_IMAGES[scale]


MAX_NAMED = 3  # records named in a sentence; the list of records marks every one


def are_enough(kept: Sequence[object], every: Sequence[object]) -> bool:
    """Whether the undisturbed records `kept` are enough for a comparison."""
    return len(kept) >= min(len(every), min_pairs())


def owner_in_words(root: str, here: str) -> str:
    """The owner of the records under `root`, to stand before a name on a page about records under
    `here`; the records in this repository are its authors'.
    """
    if root == here:
        return ""
    return "the authors' " if root.endswith(COMMITTED) else f"{clipped(root, 24)}/"


def images_of(root: str, scale: str) -> str:
    """What the trainings of a scale saw, in words. It is known of this repository's records."""
    known = IMAGES if root.endswith(COMMITTED) else {"starter": IMAGES["starter"]}
    return known.get(scale, f"captioned images {scale_in_words(scale)}")


def scale_in_words(scale: str) -> str:
    """`at cc3m scale`, or `in folder mine` for a folder that is not named after a scale."""
    if scale in SCALES or scale in SMALL_SCALES:
        return f"at {scale} scale"
    return f"in folder {clipped(scale, 24)}"


def busy_machines(records: Iterable[Run[Kind]], called: str = "records") -> str:
    """A sentence on the records whose times are in doubt; empty if there are none."""
    unique = {record.path: record for record in records}.values()
    disturbed: dict[str, list[str]] = {}
    for record in unique:
        for doubt in record.environment.doubts:
            disturbed.setdefault(doubt, []).append(record.name)
    doubts = []
    for doubt, names in disturbed.items():
        if len(unique) == 1:
            where = "while this was measured"
        else:
            listing = f" ({listed(names)})" if len(names) <= MAX_NAMED else ""
            where = f"in {len(names)} of {len(unique)} {called}{listing}"
        doubts.append(f"{doubt} {where}")
    return f"Beware: {'; '.join(doubts)}; only times and rates are in doubt." if doubts else ""


def broken_images(records: Iterable[Run[Kind]]) -> str:
    """A sentence on the records that left images out; empty if there are none."""
    unique = {record.path: record for record in records}.values()
    broken = [record.name for record in unique if any(record.metrics.broken.values())]
    if not broken:
        return ""
    return f"Images could not be read in {len(broken)} of {len(unique)} records ({listed(broken)})."


def with_warning(table: Table, records: Sequence[Run[Kind]]) -> Table:
    """The table, with a warning where something disturbed the measurement of its numbers."""
    warning = busy_machines(records)
    return replace(table, caption=f"{table.caption} {warning}".strip()) if warning else table
