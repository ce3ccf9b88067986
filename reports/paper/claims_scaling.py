"""Evidence on the paper's claims on scale, from trainings of several encoders and on fractions of
the data.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

from bench.study.lengths_result import Scaling
from catlip.results.estimate import of_pairs
from catlip.results.run import Run
from catlip.results.seeds import link
from catlip.table import clipped
from reports.paper.evidence import Compared, Evidence, Levels, Trained, paired

Cells = Sequence[Run[Scaling]]
K = TypeVar("K", str, float)


def more_data_helps(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The accuracy with all data minus that with the smallest fraction, after the same number of
    images seen.
    """
    for caveats, cells in _of_catlip(groups):
        fractions: dict[str, set[float]] = {}
        for cell in cells:
            fractions.setdefault(cell.measured.encoder, set()).add(cell.measured.fraction)
        encoder = max(fractions, key=lambda name: len(fractions[name]))
        own = [cell for cell in cells if cell.measured.encoder == encoder]
        images, by_fraction = _richest(own, lambda cell: cell.measured.fraction)
        if 1.0 in by_fraction and len(by_fraction) > 1:
            smallest = min(by_fraction)
            least, most = accuracies(by_fraction[smallest]), accuracies(by_fraction[1.0])
            compared = [
                Compared(
                    f"{task}, all data against {100 * smallest:g} %",
                    of_pairs(paired(most[task], least[task])),
                )
                for task in most
                if task in least
            ]
            said = f"Each training saw {images:,} images."
            yield Evidence(compared, said, caveats, anchor=link(own))


def larger_encoders_help(
    groups: Sequence[Trained], levels_of: Callable[[Cells], Levels], unit: str = "points"
) -> Iterator[Evidence]:
    """Each encoder minus the next smaller one, ordered by the FLOPs of a training; all trainings
    have one length and all data.
    """
    for caveats, cells in _of_catlip(groups):
        whole = [cell for cell in cells if cell.measured.fraction == 1]
        images, by_encoder = _richest(whole, lambda cell: cell.measured.encoder)
        ordered = sorted(by_encoder, key=lambda name: by_encoder[name][0].measured.flops)
        levels = {name: levels_of(by_encoder[name]) for name in ordered}
        compared = [
            Compared(
                f"{what}, {clipped(small, 24)} to {clipped(large, 24)}",
                of_pairs(paired(levels[large][what], levels[small][what])),
                unit,
                decimals=2 if unit == "nats" else 1,
            )
            for small, large in pairwise(ordered)
            for what in levels[small]
            if what in levels[large]
        ]
        if compared:
            said = f"Each training saw {images:,} images."
            yield Evidence(compared, said, caveats, anchor=link(whole))


def accuracies(cells: Cells) -> Levels:
    """Top-1 of each task, in %."""
    measured = [cell.measured for cell in cells]
    tasks = [t for t in measured[0].accuracies if all(t in one.accuracies for one in measured)]
    return {task: {one.seed: 100 * one.accuracies[task] for one in measured} for task in tasks}


def negative_loss(cells: Cells) -> Levels:
    """The final loss, in nats, with its sign changed, so that higher is better."""
    losses = {cell.measured.seed: -cell.measured.final_loss for cell in cells}
    return {"decrease of the final loss": losses}


def _of_catlip(groups: Sequence[Trained]) -> Iterator[tuple[tuple[str, ...], Cells]]:
    """CatLIP's records of kind `scaling`, for each root and scale, with their caveats."""
    for root, scale in dict.fromkeys((group.root, group.scale) for group in groups):
        own = [g for g in groups if (g.root, g.scale) == (root, scale) and g.of(Scaling, "catlip")]
        if own:
            yield own[0].caveats, [cell for group in own for cell in group.of(Scaling, "catlip")]


def _richest(cells: Cells, of: Callable[[Run[Scaling]], K]) -> tuple[int, Mapping[K, Cells]]:
    """The length of training, in images, that has the most different values of `of` (of equals, the
    one with the most trainings, then the longest), and its trainings by that value.
    """
    lengths: dict[int, dict[K, list[Run[Scaling]]]] = {}
    for cell in cells:
        by_value = lengths.setdefault(cell.measured.images, {})
        by_value.setdefault(of(cell), []).append(cell)

    def richness(length: int) -> tuple[int, int, int]:
        return len(lengths[length]), sum(map(len, lengths[length].values())), length

    images = max(lengths, key=richness, default=0)
    return images, lengths.get(images, {})
