"""How long compiling the transformer blocks takes at each image size of a recipe, and after how
many steps it pays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.step_time.steps import StepKind, step_description
from catlip.results.cells import TIMES, ends, ratio_cell, summary_cell
from catlip.results.kind import Interval, Summary
from catlip.results.run import Run
from catlip.table import Cell, Table, number_cell, shown


@dataclass(frozen=True, kw_only=True)
class CompiledSize:
    """Steps at one image size.

    Attributes:
        compile_s: time of the first compiled step less that of the first eager step.
        ratio: time of an eager step over a compiled one; above 1, compiling helps.
    """

    resolution: int
    batch_size: int
    compile_s: float
    eager_ms: Summary
    compiled_ms: Summary
    ratio: Interval


@dataclass(frozen=True, kw_only=True)
class Compiling(StepKind):
    """Steps of one method, eager and compiled in turns.

    Attributes:
        ratio: eager over compiled, of whole rounds with one step at each size.
    """

    kind = "compiling"

    image_sizes: list[CompiledSize]
    ratio: Interval

    @property
    def compile_s(self) -> float:
        """Seconds of compiling for all sizes together."""
        return sum(size.compile_s for size in self.image_sizes)

    @property
    def pays_after(self) -> float | None:
        """Steps after which compiling has saved as much time as it took, if all sizes are equally
        frequent; None if compiling saves nothing or the ratio's interval does not lie above 1.
        """
        saved_ms = sum(size.eager_ms.median - size.compiled_ms.median for size in self.image_sizes)
        if (self.ratio.low or 0.0) <= 1 or saved_ms <= 0:
            return None
        return 1e3 * self.compile_s / (saved_ms / len(self.image_sizes))


def compiling_table(name: str, run: Run[Compiling]) -> Table:
    """A row for each image size, and one for all."""
    columns = ["Image size", "Images", "Compiling (s)", "Eager (ms)", "Compiled (ms)", "Ratio"]
    measured, anchor = run.measured, run.anchor
    rows = [
        [
            Cell(f"{size.resolution} px"),
            number_cell(size.batch_size, 0, anchor),
            number_cell(size.compile_s, 1, anchor),
            summary_cell(size.eager_ms, anchor),
            summary_cell(size.compiled_ms, anchor),
            ratio_cell(run, size.ratio),
        ]
        for size in measured.image_sizes
    ]
    whole = [Cell(), number_cell(measured.compile_s, 1, anchor), Cell(), Cell()]
    rows.append([Cell("all"), *whole, ratio_cell(run, measured.ratio)])
    caption = (
        "Compiling is the first compiled step of a size minus its first eager step, without a "
        "cache of earlier runs; then come single steps in turns, medians with the 5th to 95th "
        "percentile. The ratio is eager over compiled, with its 95 % interval."
    )
    title = f"Compiling the blocks of {step_description(run)}"
    return Table(name, title, columns, rows=rows, caption=caption)


def when_it_pays(runs: Sequence[Run[Compiling]]) -> str:
    """One sentence per run; empty without runs."""
    return " ".join(_when_it_pays(run) for run in runs)


def _when_it_pays(run: Run[Compiling]) -> str:
    measured = run.measured
    took = (
        f"Compiling the blocks of {step_description(run)} took {shown(measured.compile_s, 0)} s "
        f"for {len(measured.image_sizes)} image sizes"
    )
    if run.too_few:
        return f"{took}; what it saves was timed in {run.too_few}."
    speed = f"made steps {shown(measured.ratio.value, 2)}{TIMES} as fast ({ends(measured.ratio)})"
    if (after := measured.pays_after) is not None:
        return f"{took} and {speed}: it pays after {shown(after, 0)} steps."
    slower = (measured.ratio.high or 1.0) < 1
    return f"{took} and {speed}: {'it does not pay' if slower else 'whether it pays is not known'}."
