"""Trainings on noisy data, and how much accuracy the noise costs each method."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.downstream.probe.result import check_fractions
from bench.studies.result import Studied
from bench.studies.scaling_tables import ENDS, mean_and_ends
from catlip.method_style import name_of
from catlip.results.run import Run
from catlip.table import Cell, Table, quantity_cell, quantity_of, shown

NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Robustness(Studied):
    """One training on data with one noise, and the probe of its encoder.

    Attributes:
        noise: KIND=FRACTION, or `none`.
        samples: number of samples that the noise leaves.
        classes: number of classes of the vocabulary made from the noisy captions.
        classes_kept: fraction of the clean vocabulary's classes that are among these.
    """

    kind = "robustness"

    noise: str
    seed: int
    samples: int | None
    classes: int
    classes_kept: float
    images_seen: float
    final_loss: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fractions(classes_kept=self.classes_kept)


def robustness_table(runs: Iterable[Run[Robustness]], name: str = "robustness") -> Table:
    """One row per noise and method: its accuracy, and what the noise changes, paired by seed."""
    groups: dict[tuple[str, str], dict[int, Run[Robustness]]] = {}
    for run in runs:
        one = run.measured
        groups.setdefault((one.noise, one.method), {})[one.seed] = run
    every = [run.measured for group in groups.values() for run in group.values()]
    tasks = dict.fromkeys(task for one in every for task in one.accuracies)
    rows = []
    for (noise, method), group in groups.items():
        first = next(iter(group.values()))
        clean = groups.get((NONE, method), {})
        kept = f"{shown(100 * first.measured.classes_kept, 0)} % of the clean classes"
        row = [
            Cell(noise),
            Cell(name_of(method)),
            Cell(shown(first.measured.samples, 0)),
            Cell(shown(first.measured.classes, 0), kept),
        ]
        for task in tasks:
            reached = {seed: 100 * run.measured.accuracies[task] for seed, run in group.items()}
            row.append(quantity_cell(quantity_of(reached.values()), 1, first.anchor))
            gone = [
                value - 100 * clean[seed].measured.accuracies[task]
                for seed, value in reached.items()
                if seed in clean
            ]
            row.append(Cell() if noise == NONE else mean_and_ends(gone))
        rows.append(row)
    columns = ["Noise", "Method", "Samples", "Classes"]
    for task in tasks:
        columns += [f"{task}, top-1 (%)", "change from none (points)"]
    caption = (
        "Mean ± sample standard deviation over n seeds; change from none: mean difference from the "
        f"same seed without noise ({ENDS}). CLIP does not use the classes."
    )
    title = "Accuracy after training with noise"
    return Table(name, title, columns, rows=rows, caption=caption)
