"""A record as its kind's tables use it, whether a bench has just measured it or the reports have
read it from a file.
"""

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec

from catlip.records.kind import FEWEST, ByRule, Interval, Kind
from catlip.records.table import clipped

K = TypeVar("K", bound=Kind, covariant=True)
R = TypeVar("R")
LARGEST = 1e18
NUMBERS = (float, int, bool)
LONGEST = 400  # characters of a text in a table
NAME = 60  # characters; a text up to this length is cached, for it is likely to recur
# Keys of base64 texts, which are not clipped: the bits of 50,000 test images take 8,336 characters.
BASE64 = ("image", "mask", "truth", "predicted", "correct", "clusters", "part")
WITHOUT_EFFECT = ("seed", "about")  # fields of a recipe that may differ between runs of one recipe
BUSY = 0.25  # other programs' processor time over the wall time; above it, times are in doubt
STEADY = 0.9  # a GPU's clock at the end over that at the start; below it, they are too
MAX_OTHER_GIB = 1.0  # of a GPU's memory, held by others; above it, another process may work there


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The fields of a recipe that the reports need; the record holds all fields."""

    encoder: str = ""
    resolution: int | None = None


@dataclass(frozen=True, kw_only=True)
class Config:
    """The fields of a run's config that the reports need; the record holds all fields."""

    model: str = ""
    encoder: str = ""
    batch_size: int | None = None
    resolution: int | None = None
    num_classes: int | None = None
    caption_tokens: float = 0.0
    tokens_in_use: int = 0
    world_size: int | None = None
    precision: str = ""
    attention: str = ""
    checkpointing: bool = False
    compile: bool = False
    parallel: str = ""
    again: bool = False
    device: str = ""
    data: str | None = None
    init: str | list[str] = ""
    cached_features: bool | None = None
    rule: str | None = None
    recipe: Recipe = Recipe()


@dataclass(frozen=True, kw_only=True)
class CardState:
    """The fields of `catlip.system.card.card_state` that the reports need."""

    sm_mhz: float | None = None
    limited_by: list[str] = field(default_factory=list)
    other_gib: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU when a run began and when it ended."""

    start: CardState = CardState()
    end: CardState = CardState()


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The machine and the code that a record was made with."""

    device: str = ""
    device_count: int = 1
    cpu: str = ""
    attention: str = ""
    started: str = ""
    revision: str = ""
    dirty: bool = False
    rules: str = ""  # digest of claims.toml
    packages: dict[str, str] = field(default_factory=dict)
    wall_s: float | None = None
    other_cpu_s: float | None = None
    beside: int = 0  # trainings of the same study that ran on the device at the same time
    card: Card = Card()
    data: dict[str, Any] = field(default_factory=dict)

    def samples(self, name: str) -> int | None:
        """How many samples the data of that name has; None if the record does not say it."""
        entry = self.data.get(name)
        count = entry.get("samples") if isinstance(entry, dict) else None
        return count if isinstance(count, int) else None

    @property
    def is_busy(self) -> bool:
        """Whether trainings ran side by side, or other programs took much processor time."""
        return bool(self.beside) or (self.other_cpu_s or 0) > BUSY * (self.wall_s or 0) > 0

    @property
    def doubts(self) -> list[str]:
        """What puts the times in doubt, in a few words; older records hold less of it."""
        start, end = self.card.start, self.card.end
        words = {
            "other programs were busy": self.is_busy,
            "the GPU's clock fell": (end.sm_mhz or math.inf) < STEADY * (start.sm_mhz or 0),
            "another process was on the GPU": not self.beside
            and max(start.other_gib, end.other_gib) > MAX_OTHER_GIB,
        }
        return [doubt for doubt, is_there in words.items() if is_there]


@dataclass(frozen=True, kw_only=True)
class Run(Generic[K]):
    """One run: what it measured, how, and where.

    Attributes:
        samples: name -> raw values, as the record holds them.
        shown_as: method -> its label, colour and marker, if the record states them.
        raw_config, raw_environment, raw_metrics: as the record holds them, with all fields.
        anchor: where the page shows its record; empty outside of a page, as are those below.
        root: the folder above the one of its scale; `path` includes it.
    """

    name: str
    kind: str
    metrics: K
    config: Config
    environment: Environment
    samples: dict[str, list[Any]]
    shown_as: dict[str, Any] = field(default_factory=dict)
    raw_config: dict[str, Any] = field(default_factory=dict)
    raw_environment: dict[str, Any] = field(default_factory=dict)
    raw_metrics: dict[str, Any] = field(default_factory=dict)
    anchor: str = ""
    root: str = ""
    scale: str = ""
    path: str = ""
    _typed: dict[tuple[str, type], list[Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def method(self) -> str:
        stated = text(self.raw_metrics, "method") or text(self.raw_config, "method")
        return stated or re.sub(r"-seed\d+$", "", self.name)

    @property
    def seed(self) -> int | None:
        """The seed of pre-training, from the metrics or from the name `<method>-seed<k>`."""
        for tree, key in (
            (self.raw_metrics, "pretrain_seed"),
            (self.raw_metrics, "seed"),
            (self.raw_config, "seed"),
        ):
            if (seed := as_number(tree.get(key))) is not None and seed.is_integer():
                return int(seed)
        match = re.search(r"-seed(\d+)$", self.name)
        return int(match.group(1)) if match else None

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe of a pre-training run; empty where the record has none."""
        return entries(self.raw_config, "recipe")

    @cached_property
    def settings_key(self) -> str:
        """A text that is equal for all runs with equal settings."""
        kept = {field: value for field, value in self.recipe.items() if field not in WITHOUT_EFFECT}
        kept["cached_features"] = self.raw_config.get("cached_features")
        return json.dumps(kept, sort_keys=True)

    def series(self, name: str) -> list[float]:
        values = self.samples.get(name)
        if not isinstance(values, list):
            return []
        return [math.nan if value is None else value for value in map(as_number, values)]

    def rows(self, name: str, of: type[R]) -> list[R]:
        """The rows recorded under `name`, each converted to the type `of`."""
        if (name, of) not in self._typed:
            rows: Any = list[of]  # type: ignore[valid-type]
            self._typed[name, of] = msgspec.convert(cleaned(self.samples.get(name) or []), rows)
        return self._typed[name, of]

    @property
    def is_cpu(self) -> bool:
        """Whether it was measured on a processor, not on an accelerator."""
        device = self.environment.device
        return self.config.device == "cpu" or (bool(device) and device == self.environment.cpu)

    @property
    def device(self) -> str:
        """The device's name, with the number of devices if there are several."""
        name, count = self.environment.device or "unknown device", self.environment.device_count
        return f"{count} x {name}" if count > 1 else name

    @property
    def where(self) -> str:
        return f"{self.environment.cpu or self.device} (CPU)" if self.is_cpu else self.device

    @property
    def too_few(self) -> str:
        """`2 rounds of the 6 needed` if its ratios rest on too few rounds; otherwise empty."""
        ends = self.metrics.rounds
        lists = [values for name, values in self.samples.items() if name.endswith(ends)]
        rounds = min((len(values) for values in lists if isinstance(values, list)), default=FEWEST)
        if rounds >= FEWEST:
            return ""
        return f"{rounds} round{'s' * (rounds != 1)} of the {FEWEST} needed"

    def trusted(self, ratio: Interval) -> Interval:
        """The ratio, without its interval if it rests on too few rounds."""
        return Interval(ratio.value) if self.too_few else ratio


def read_run(record: dict[str, Any], kind: type[K], is_foreign: bool = False) -> Run[K]:
    """A record's JSON as a run. Of a foreign record, texts and numbers are `cleaned`.

    Raises: ValueError if a field has another type than in this kind.
    """
    parts = [record["metrics"], record["config"], record["environment"]]
    metrics, config, environment = map(cleaned, parts) if is_foreign else parts
    return Run(
        name=record["name"],
        kind=record["kind"],
        metrics=kind.read(metrics),
        config=msgspec.convert(config, Config),
        environment=msgspec.convert(environment, Environment),
        samples=record["samples"],
        shown_as=entries(record, "shown_as"),
        raw_config=record["config"],
        raw_environment=record["environment"],
        raw_metrics=record["metrics"],
    )


def print_doubts(run: Run[Any]) -> None:
    doubts, card = run.environment.doubts, run.environment.card
    for fault in run.metrics.faults(run):
        print(f"warning: {run.name}: {fault}")
    if doubts:
        print(f"warning: {run.name}: its times are in doubt: {', '.join(doubts)}")
    if doubts and card.end.sm_mhz:
        clock = f"{card.start.sm_mhz or 0:,.0f} MHz, then {card.end.sm_mhz:,.0f}"
        why = ", ".join(card.end.limited_by) or "no reason given"
        other = max(card.start.other_gib, card.end.other_gib)
        print(f"warning: clock {clock} MHz ({why}); other processes held {other:.2f} GiB")


@dataclass(frozen=True)
class Problem:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Records:
    """All records under the roots (as given), in the order of roots and then of paths."""

    roots: tuple[str, ...]
    every: tuple[Run[Kind], ...]
    problems: tuple[Problem, ...]

    def of(self, kind: type[K]) -> list[Run[K]]:
        runs: Iterable[Any] = self.every
        return [run for run in runs if run.kind == kind.kind]


def usual_recipe(runs: Sequence[Run[K]]) -> list[Run[K]]:
    """The runs of one recipe: that of the most methods and seeds."""
    trained = {(run.method, run.seed, run.settings_key) for run in runs}
    counts = Counter(settings for _, _, settings in trained)
    usual = max(counts, key=lambda settings: (counts[settings], settings), default="")
    return [run for run in runs if run.settings_key == usual]


def rule_of(run: Run[ByRule]) -> str:
    """The rule that made the labels; the record's name if the rule is not recorded."""
    return clipped(run.metrics.rule or run.config.rule or run.name, 24)


def cleaned(tree: Any) -> Any:
    """Values from a file in a form that tables can hold: a text is one line of at most LONGEST
    printable characters, and a number beyond LARGEST is infinite.
    """
    if isinstance(tree, dict):
        result = {}
        for key, value in tree.items():
            if isinstance(value, str):
                if key not in BASE64:
                    value = _cleaned_name(value) if len(value) <= NAME else _cleaned_text(value)
            elif not (type(value) in NUMBERS and -LARGEST <= value <= LARGEST):
                value = cleaned(value)
            result[_cleaned_name(key)] = value
        return result
    if isinstance(tree, list):
        # Most values are numbers in long curves; testing them here saves a call for each.
        return [
            value if type(value) in NUMBERS and -LARGEST <= value <= LARGEST else cleaned(value)
            for value in tree
        ]
    if isinstance(tree, str):
        return _cleaned_text(tree)
    if isinstance(tree, int | float) and abs(tree) > LARGEST:
        return as_number(tree)
    return tree


def _cleaned_text(text: str) -> str:
    # A short cut: nearly every text is clean, and 10,000 records have millions of them. The only
    # printable white space is the space.
    if len(text) <= LONGEST and text.isprintable() and "  " not in text and text == text.strip():
        return text
    return "".join(filter(str.isprintable, " ".join(text[: 4 * LONGEST].split())))[:LONGEST]


# Cached, because rows repeat the names of their columns and of their labels.
_cleaned_name = functools.lru_cache(maxsize=2**16)(_cleaned_text)


def as_number(value: Any) -> float | None:
    """A JSON number as float; None for anything else, true and false included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if abs(value) > LARGEST:
        return math.inf if value > 0 else -math.inf
    return float(value)


def entries(tree: dict[str, Any], key: str) -> dict[str, Any]:
    inside = tree.get(key)
    return inside if isinstance(inside, dict) else {}


def text(tree: dict[str, Any], key: str) -> str:
    inside = tree.get(key)
    return inside if isinstance(inside, str) else ""


def slug(words: str) -> str:
    """The words as an HTML id: everything but letters, digits, `_`, `.` and `-` becomes a dash."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", words).strip("-")
