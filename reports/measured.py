"""What the records of one setting say: quantities over seeds for each method.

A *setting* is one scale under one root, such as `runs/starter`: what was run here is never averaged with records that
were brought from elsewhere. Accuracy is averaged over everything in the setting; times only over one device, the one that
most trainings ran on, and costs of different devices never meet in a ratio.
"""

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from reports.cells import Quantity, clipped
from reports.records import Record, Records, lookup, number, text

NAMES = {
    "random": "Random init",
    "catlip": "CatLIP",
    "catlip_chunked": "CatLIP, loss in chunks",
    "catlip_dense": "CatLIP, dense targets",
    "clip": "CLIP",
    "clip_nonlocal": "CLIP, loss not local",
    "siglip": "SigLIP",
    "siglip_gather": "SigLIP, gathering",
    "superclass": "SuperClass",
}
MAIN_KINDS = ("pretrain", "linear_probe", "step_time")
CEILINGS = ("timm:", "openclip:")  # what the spelling of an encoder starts with that other people pre-trained
NOT_OURS = (*CEILINGS, "released:", "random:")  # and of the others that are neither trained here nor `random`, ours untrained


@dataclass(frozen=True)
class Ratio:
    """How many times the step of the method `to` a method's step takes, with its interval."""

    to: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Setting:
    """The records of one scale under one root."""

    root: str
    scale: str
    records: tuple[Record, ...]

    def of(self, kind: str, method: str | None = None) -> list[Record]:
        """The records of a kind, and of a method where one is named."""
        return [r for r in self.records if r.kind == kind and (method is None or r.method == method)]

    @cached_property
    def methods(self) -> list[str]:
        """Every method that was trained or probed here: random init, CatLIP, CLIP, then the others by name."""
        return ordered(r.method for r in self.records if r.kind in ("pretrain", "linear_probe") and is_ours(r.method))

    @cached_property
    def device(self) -> str:
        """The device that most trainings ran on (else most timings); empty without either."""
        runs = self.of("pretrain") or self.of("step_time")
        return Counter(r.device for r in runs).most_common(1)[0][0] if runs else ""

    def accuracy(self, method: str, metric: str) -> Quantity | None:
        """A probe metric in percent over the seeds of pre-training, e.g. `concepts_top1`."""
        return summarise(_percent(r, metric) for r in self.of("linear_probe", method))

    def training(self, method: str, metric: str) -> Quantity | None:
        """A pre-training metric over seeds, on this setting's device only."""
        return summarise(number(r.metrics, metric) for r in self.trainings(method))

    def relative_time(self, method: str) -> Quantity | None:
        """Seconds of training over the mean of CLIP's; None where CLIP was not trained."""
        clip = self.training("clip", "train_seconds")
        if clip is None or not clip.mean > 0:
            return None
        seconds = [number(r.metrics, "train_seconds") for r in self.trainings(method)]
        return summarise(None if s is None else s / clip.mean for s in seconds)

    def trainings(self, method: str) -> list[Record]:
        """The trainings of a method on this setting's device."""
        return [r for r in self.of("pretrain", method) if r.device == self.device]

    @cached_property
    def step_time(self) -> Record | None:
        """The step-time record that speaks for this setting: its device, and its encoder where that was timed."""
        encoder = next((text(r.recipe, "encoder") for r in self.of("pretrain")), "")
        timed = [r for r in self.of("step_time") if r.device == self.device and step_methods(r)]
        return next((r for r in timed if text(r.config, "model") == encoder), timed[0] if timed else None)

    def paired(self, value: Callable[[Record], float | None], kind: str, one: str, other: str) -> list[float]:
        """The differences `one - other` of a value, seed by seed, for the seeds that both have."""
        first, second = ({r.seed: value(r) for r in self.of(kind, method)} for method in (one, other))
        pairs = [(first[seed], second[seed]) for seed in first if seed is not None and seed in second]
        return [a - b for a, b in pairs if a is not None and b is not None]

    @cached_property
    def warnings(self) -> list[str]:
        """What keeps the numbers of this setting from meaning what they seem to mean."""
        found = [warning for method in self.methods for warning in self._mixed_recipes(method)]
        devices = sorted({r.device for r in self.of("pretrain")})
        if len(devices) > 1:
            found.append(f"Trainings ran on {len(devices)} devices; times are those of {self.device} alone.")
        if any(number(r.metrics, "images_seen") is None for r in self.of("pretrain")):
            return found
        images = {m: {number(r.metrics, "images_seen") for r in self.trainings(m)} for m in self.methods if self.trainings(m)}
        if len(set().union(*images.values())) > 1:
            found.append("Not every training saw the same number of images, so training times are not like for like.")
        return found

    def _mixed_recipes(self, method: str) -> list[str]:
        recipes = [r.recipe for r in self.of("pretrain", method)]
        fields = differing_fields(recipes)
        return [f"The seeds of {name_of(method)} differ in {', '.join(fields)}, not in the seed alone."] if fields else []


def settings(records: Records) -> list[Setting]:
    """Every setting with a training, a probe or a timing: by root, in the order given, then by scale, starter first."""
    roots = list(dict.fromkeys(r.root for r in records.found))
    keys = {(r.root, r.scale): None for r in records.found if r.kind in MAIN_KINDS}
    order = sorted(keys, key=lambda key: (roots.index(key[0]), key[1] != "starter", key[1]))
    return [
        Setting(root, scale, tuple(r for r in records.found if (r.root, r.scale) == (root, scale))) for root, scale in order
    ]


def summarise(values: Iterable[float | None]) -> Quantity | None:
    """Mean, sample standard deviation and n of the values that are there; None when none is; NaN if one is NaN."""
    kept = [value for value in values if value is not None]
    if not kept:
        return None
    if not all(map(math.isfinite, kept)):
        return Quantity(math.nan, None, len(kept))
    return Quantity(statistics.fmean(kept), statistics.stdev(kept) if len(kept) > 1 else None, len(kept))


def step_methods(record: Record) -> list[str]:
    """The methods that a step-time record timed, in the order of every table."""
    timed = lookup(record.metrics, "methods")
    return ordered(timed) if isinstance(timed, dict) else []


def step_ratio(record: Record, method: str) -> Ratio | None:
    """The recorded ratio `method/another` of step times, or None."""
    ratios = lookup(record.metrics, "ratios")
    for key, found in ratios.items() if isinstance(ratios, dict) else ():
        above, _, below = key.partition("/")
        if above == method and (ratio := ratio_at(found, below)):
            return ratio
    return None


def ratio_at(tree: object, to: str = "") -> Ratio | None:
    """A ratio as benches record it, with `value`, `low` and `high`; None without a value."""
    value = number(tree, "value")
    return None if value is None else Ratio(to, value, number(tree, "low"), number(tree, "high"))


def differing_fields(recipes: Sequence[dict[str, object]]) -> list[str]:
    """The fields that are not the same in all recipes, leaving out what cannot change a result."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe if key not in ("seed", "about"))
    return [key for key in keys if any(recipe.get(key) != recipes[0].get(key) for recipe in recipes)]


def ordered(methods: Iterable[str]) -> list[str]:
    """Methods without repetition, the known ones in their fixed order, then the others by name, those not ours last."""
    rank = {name: i for i, name in enumerate(NAMES)}
    return sorted(set(methods), key=lambda name: (not is_ours(name), rank.get(name, len(rank)), name))


def is_ours(method: str) -> bool:
    """Whether the encoder was trained here, or is ours untrained; a spelling such as `timm:vit_tiny` names one that is not."""
    return not method.startswith(NOT_OURS)


def is_ceiling(method: str) -> bool:
    """Whether other people trained the encoder, so that it only says what can be reached."""
    return method.startswith(CEILINGS)


def name_of(method: str) -> str:
    """How a method is called in text; what a record calls it is cut to what fits a line."""
    return NAMES.get(method) or clipped(method)


def anchor_of(record: Record) -> str:
    """The anchor of a record in the page; unique because it holds root, scale, kind and file name."""
    return "record-" + slug(record.path.removesuffix(".json"))


def group_anchor(record: Record) -> str:
    """The anchor of all records of the same root, scale, kind and method."""
    return "records-" + slug(f"{record.root}/{record.scale}/{record.kind}/{record.method}")


def slug(words: str) -> str:
    """The words with everything but letters, digits, `_`, `.` and `-` as dashes: fit for an HTML id."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", words).strip("-")


def _percent(record: Record, metric: str) -> float | None:
    share = number(record.metrics, metric)
    return None if share is None else 100 * share
