"""The figures of one setting: probe accuracy, and loss in Figure 8's form.

A figure without records is left out.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from catlip.pretraining.result import Pretrain
from catlip.records.blocks import Block, side_by_side
from catlip.records.figures import MUTED, Figure, colour_of, label_points
from catlip.records.run import Run, slug
from catlip.records.select import ENCODERS, architecture
from catlip.records.styles import CLIPS, name_of
from catlip.records.table import clipped, format_number
from reports.read.setting import Setting

if TYPE_CHECKING:  # matplotlib takes a second to import
    from matplotlib.axes import Axes

LOSS_UNITS = {
    "catlip": "loss (nats per image)",
    **dict.fromkeys(CLIPS, "contrastive loss (nats)"),
}
MAX_CURVES, MAX_NAMED = 12, 4  # in a panel; with more than the latter, none has a name
BINS = 120  # the points of a loss curve after averaging


def loss_panels(setting: Setting) -> list[Block]:
    """A panel for each of the paper's two methods, because their losses have different units and
    cannot be compared.
    """
    figures = []
    for method in setting.pair:
        runs = [(r, curve) for r in setting.of(Pretrain, method) if (curve := loss_curve(r))]
        if not runs:
            continue
        names = _run_names([record for record, _ in runs[:MAX_CURVES]])
        curves = {name: curve for name, (_, curve) in zip(names, runs, strict=False)}
        said = "; ".join(
            f"{name} from {format_number(c[0][1])} to {format_number(c[-1][1])}"
            for name, c in curves.items()
        )
        caption = f"{name_of(method)}, {len(runs):,} training{'s' * (len(runs) > 1)}"
        if len(runs) > MAX_CURVES:
            caption = f"{name_of(method)}, the first {MAX_CURVES} of {len(runs):,} trainings"
        alt = f"Loss of {name_of(method)} against images seen: {said}."
        draw = partial(_draw_loss, method=method, curves=curves)
        figures.append(Figure(f"loss_{slug(method)}", f"{caption}.", alt, draw=draw))
    return side_by_side(
        figures,
        "Pre-training loss in Figure 8's form, a line for each training. The two losses are "
        "different quantities: compare their shapes, not their levels.",
    )


def _run_names(records: Sequence[Run]) -> list[str]:
    """Unique names of the runs: `seed 0`, or `ViT B/16, seed 0` if the encoders differ."""
    encoders = [record.config.recipe.encoder for record in records]
    names = [f"seed {'?' if record.seed is None else record.seed}" for record in records]
    if len(set(encoders)) > 1:
        sizes = [ENCODERS.get(architecture(e), clipped(e, 24)) for e in encoders]
        names = [f"{size}, {name}" for size, name in zip(sizes, names, strict=True)]
    return [
        name if names.count(name) == 1 else f"{name}, {clipped(r.name, 24)}"
        for name, r in zip(names, records, strict=True)
    ]


def loss_curve(record: Run) -> list[tuple[float, float]]:
    """(images seen, loss), averaged over spans of equally many steps; steps whose loss is not
    finite are left out.
    """
    seen, loss = record.series("images_seen"), record.series("loss")
    points = [
        (x, y) for x, y in zip(seen, loss, strict=False) if math.isfinite(x) and math.isfinite(y)
    ]
    span = max(1, math.ceil(len(points) / BINS))
    means = []
    for begin in range(0, len(points), span):
        images, losses = zip(*points[begin : begin + span], strict=True)
        means.append((sum(images) / len(images), sum(losses) / len(losses)))
    return means


def _draw_loss(axes: "Axes", method: str, curves: Mapping[str, list[tuple[float, float]]]) -> None:
    most = max(curve[-1][0] for curve in curves.values())
    unit, label = 1.0, "images seen"
    if most >= 2e6:
        unit, label = 1e6, "images seen (millions)"
    elif most >= 2e3:
        unit, label = 1e3, "images seen (thousands)"
    colour = colour_of(method)
    ends, later = [], []
    for i, (name, curve) in enumerate(curves.items()):
        style = ("-", "--", "-.", ":")[i % 4]
        xs, ys = [x / unit for x, _ in curve], [y for _, y in curve]
        axes.plot(xs, ys, style, color=colour, linewidth=1.6)
        ends.append((xs[-1], ys[-1], name, colour))
        later += ys[len(ys) // 20 :]
    # The first steps are not in the y range where they would flatten the rest.
    start, low, high = max(curve[0][1] for curve in curves.values()), min(later), max(later)
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    axes.set_ylim(low - margin, high + margin)
    if start > high + margin:
        how: dict[str, Any] = {
            "transform": axes.transAxes,
            "color": MUTED,
            "va": "top",
            "ha": "right",
        }
        axes.text(0.97, 0.95, f"starts at {format_number(start)}", **how)
    axes.set_xlim(0, most / unit)
    axes.set_xlabel(label)
    axes.set_ylabel(LOSS_UNITS.get(method, "loss"))
    if len(curves) <= MAX_NAMED:
        label_points(axes, ends, gap=0.075)
