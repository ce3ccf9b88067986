"""What each option of Transfer Init changes."""

from dataclasses import dataclass
from typing import Any

from catlip.results.kind import Kind
from catlip.results.run import Run
from catlip.table import Cell, Quantity, Table, clipped, quantity_cell

MOST_VARIANTS = 24


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Gain in top-1 accuracy over a random start, as a fraction: mean and sample standard deviation
    over `n` encoders.
    """

    mean: float
    spread: float
    n: int

    def quantity(self) -> Quantity:
        """The mean gain in points, with its spread over encoders."""
        return Quantity(100 * self.mean, 100 * self.spread if self.n > 1 else None, self.n)


@dataclass(frozen=True, kw_only=True)
class TransferOptions(Kind):
    """Gains when one option at a time is changed.

    Attributes:
        default: the values of the options that are not changed.
        gains: option -> task and fraction of its training data -> gain.
    """

    kind = "transfer_options"

    encoder_digest: str | None = None
    default: dict[str, Any]
    gains: dict[str, dict[str, Gain]]


def transfer_options_table(name: str, scale: str, run: Run[TransferOptions]) -> Table:
    """One row per option; two columns per task, with the fewest training images and with all."""
    gains = run.measured.gains
    places = list(dict.fromkeys(place for of_variant in gains.values() for place in of_variant))
    rows = []
    for variant, of_variant in list(gains.items())[:MOST_VARIANTS]:
        row = [Cell(clipped(variant, 24))]
        for place in places:
            gain = of_variant.get(place)
            row.append(quantity_cell(gain.quantity() if gain else None, 1, run.anchor))
        rows.append(row)
    epochs = run.setup.recipe.epochs
    length = f", probes of {epochs:g} epochs" if epochs is not None else ""
    caption = (
        "Gain in top-1 accuracy over a random head: mean ± sample standard deviation over "
        "encoders. Least is one image of each class. A probe that is trained until it has "
        "converged forgets where it started."
    )
    columns = ["Option", *(f"{clipped(place, 40)} (points)" for place in places)]
    title = f"The options of Transfer Init, {scale} scale{length}"
    return Table(name, title, columns, rows=rows, caption=caption)
