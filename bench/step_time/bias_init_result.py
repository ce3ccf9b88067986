"""The first steps of CatLIP with a classifier bias of zero and with one from the classes' base
rates: both losses, and the steps that the base rates save.
"""

import re
from dataclasses import dataclass
from typing import Any, Self

from catlip.results.kind import Kind
from catlip.results.run import Run
from catlip.table import Cell, Table, clipped, number_cell, quantity_cell, quantity_of, shown

BIASES = {"zero": "zero bias", "base_rates": "base rates"}
INITIAL = re.compile(r"(zero|base_rates)_initial_loss")
SPAN = re.compile(r"(zero|base_rates)_loss_(\d{1,9}_to_\d{1,9})")
MOST_SEEDS, MOST_SPANS = 32, 8


@dataclass(frozen=True, kw_only=True)
class BiasLosses:
    """Losses from one bias, in nats per image.

    Attributes:
        initial: loss of the first step.
        means: span of steps, such as `1_to_10` -> mean loss.
    """

    initial: float
    means: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class FirstSteps:
    """A pair of runs of one seed, or the means over the seeds.

    Attributes:
        base_rates_alone_loss: loss on the same images if every image is predicted to have the
            classes' base rates.
        steps_saved: the first step at which the loss from a zero bias, averaged over a few steps,
            is below the first loss from the base rates; None if these steps do not get there.
    """

    seed: int | None = None
    images_seen: float
    base_rates_alone_loss: float
    zero: BiasLosses
    base_rates: BiasLosses
    steps_saved: float | None = None


@dataclass(frozen=True, kw_only=True)
class BiasInit(Kind):
    """Both biases over several seeds. In a file, each field of `mean` is a metric of its own.

    Attributes:
        uniform_loss: expected loss of the first step from a zero bias.
        base_rate_entropy: expected loss of predicting the base rates for every image.
    """

    kind = "bias_init"

    num_classes: int
    uniform_loss: float
    base_rate_entropy: float
    mean: FirstSteps
    seeds: list[FirstSteps]

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        seeds = metrics.get("seeds")
        nested = [_nested(row) for row in seeds] if isinstance(seeds, list) else seeds
        return super().read(metrics | {"mean": _nested(metrics), "seeds": nested})

    def metrics(self) -> dict[str, Any]:
        metrics = super().metrics()
        seeds = [_flat(row) for row in metrics.pop("seeds")]
        return metrics | _flat(metrics.pop("mean")) | {"seeds": seeds}


def _nested(row: Any) -> Any:
    """A row of a record, with its losses also gathered by bias."""
    if not isinstance(row, dict):
        return row
    losses: dict[str, dict[str, Any]] = {bias: {"means": {}} for bias in BIASES}
    for name, value in row.items():
        if initial := INITIAL.fullmatch(name):
            losses[initial[1]]["initial"] = value
        elif span := SPAN.fullmatch(name):
            losses[span[1]]["means"][span[2]] = value
    return row | losses


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The row as a record holds it."""
    flat = {name: value for name, value in row.items() if name not in BIASES}
    for bias in BIASES:
        flat[f"{bias}_initial_loss"] = row[bias]["initial"]
        for span, mean in row[bias]["means"].items():
            flat[f"{bias}_loss_{span}"] = mean
    return flat


def saved_words(run: Run[BiasInit], where: str = "") -> str:
    """A sentence: after how many steps a zero bias has the loss that the base rates begin at.

    Args:
        where: words that say where this is shown.
    """
    mean, iterations = run.measured.mean, run.setup.recipe.iterations
    steps = mean.steps_saved
    if steps is None:
        return "In these steps a zero bias does not reach the first loss with the base rates."
    seen = f" ({shown(steps * mean.images_seen / iterations, 0)} images)" if iterations else ""
    return (
        f"A zero bias needs {shown(steps, 0)} steps{seen} to reach the first loss with the base "
        f"rates{where}."
    )


def bias_init_table(name: str, run: Run[BiasInit]) -> Table:
    """The expected first loss, and the first loss and the means over steps with each bias."""
    columns = ["Loss (nats per image)", "Zero bias", "Base rates", "Zero bias is higher by"]
    rows = [_expected(run), _row(run, "First step", "")]
    for span in list(run.measured.mean.zero.means)[:MOST_SPANS]:
        first, last = map(int, span.split("_to_"))
        rows.append(_row(run, f"Mean of steps {first:,} to {last:,}", span))
    few = " On one seed, a small difference may be chance." if len(run.measured.seeds) == 1 else ""
    caption = f"{saved_words(run)} Differences are per seed, on the same images.{few}"
    title = f"Both biases, {clipped(run.setup.recipe.encoder, 40)} on {run.where}"
    return Table(name, title, columns, rows=rows, caption=caption)


def _expected(run: Run[BiasInit]) -> list[Cell]:
    measured = run.measured
    classes = f"V ln 2 for {shown(measured.num_classes, 0)} classes"
    alone = f"base rates alone; their entropy is {shown(measured.base_rate_entropy, 2)}"
    return [
        Cell("Expected for the first step"),
        number_cell(measured.uniform_loss, 2, run.anchor, small=classes),
        number_cell(measured.mean.base_rates_alone_loss, 2, run.anchor, small=alone),
        Cell(),
    ]


def _row(run: Run[BiasInit], what: str, span: str) -> list[Cell]:
    """The row of a span of steps, or of the first step if `span` is empty."""
    seeds = run.measured.seeds[:MOST_SEEDS]
    zero = [_loss(steps.zero, span) for steps in seeds]
    rates = [_loss(steps.base_rates, span) for steps in seeds]
    pairs = zip(zero, rates, strict=True)
    gaps = [one - other for one, other in pairs if one is not None and other is not None]
    cells = [quantity_cell(quantity_of(losses), 2, run.anchor) for losses in (zero, rates, gaps)]
    return [Cell(what), *cells]


def _loss(losses: BiasLosses, span: str) -> float | None:
    return losses.means.get(span) if span else losses.initial
