"""The page's sections on cost: a step's time, memory and bytes, where a speed-up comes from, and
the projection to many devices.

Each section is a function of the records of a few kinds. A section without records shows the
command that would fill it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import bench.communication.result
import bench.memory.result
import bench.step_time.result
import bench.waterfall.result
from bench.data_path.result import DataPath, rates_tables
from bench.plan.projection_figures import projection_figures
from bench.plan.projection_result import Projection, projection_tables
from bench.plan.result import Plan, checked, plan_table
from catlip.results.blocks import Block, Command, Section, Text, side_by_side, to_fill
from catlip.results.caveats import with_warning
from catlip.results.devices import measured
from catlip.results.figures import Figure
from catlip.results.kind import Kind
from catlip.results.rules import MOST, suffix
from catlip.results.run import Records, Run
from catlip.table import Table
from reports.paper.external import external_table
from reports.read.measured import Setting

PROJECTION = "python -m bench.projection"
PLAN = "python -m bench.plan --model vit_b16 --images 12.8e9 --gpu h100 --gpus 64 --price 2.5"
DATA_PATH = "python -m bench.data_path --plan"

K = TypeVar("K", bound=Kind)


def cost_sections(main: Setting | None, records: Records) -> list[Section]:
    """All sections on cost, in the order of the page."""
    return [
        bench.step_time.result.section(main, records),
        bench.waterfall.result.section(main, records),
        bench.memory.result.section(main, records),
        bench.communication.result.section(main, records),
        Section("projection", "Many devices", _projection(records)),
        Section("plan", "A training of your own", _plan(records)),
        Section("data-path", "Images", _data(records)),
        Section("external", "Are these numbers plausible?", _external()),
    ]


def _projection(records: Records) -> list[Block]:
    words = (
        "The paper trains on many GPUs. These numbers are computed from one device's step and the "
        "bandwidth of a link, not measured; the last table compares the same arithmetic with "
        "measurements on several ranks. Stragglers, failures and networks shared with others are "
        "not included."
    )
    return _each(
        records,
        Projection,
        (projection_figures, projection_tables),
        words=words,
        missing="No projection was made.",
        command=PROJECTION,
    )


def _plan(records: Records) -> list[Block]:
    words = (
        "What a pre-training would take on your devices. The command knows more GPUs, image sizes "
        "and links, and takes the rate of a step that you have timed."
    )
    plans = measured(records, Plan)
    if not plans:
        return [Text(words), *to_fill("No training was planned.", PLAN)]
    told = max(plans, key=lambda record: len(record.measured.runs))
    said = checked([check for record in plans for check in record.measured.checks])
    texts = [Text(sentence) for sentence in (words, said) if sentence]
    return [*texts, Command(PLAN), replace(plan_table(told), folded=True)]


def _data(records: Records) -> list[Block]:
    words = (
        "How fast images arrive limits a training. It is a rate of processor cores: how many cores "
        "a GPU needs follows from its images per second."
    )
    return _each(
        records,
        DataPath,
        (rates_tables,),
        words=words,
        missing="The data path was not timed.",
        command=DATA_PATH,
        most=1,
        telling=lambda record: len(record.measured.ratios),
    )


def _external() -> list[Block]:
    words = (
        "Rates that other people published for their trainings. Hardware, model, batch, "
        "precision and what counts as time differ from ours and from each other, so ratios to the "
        "rates of our steps mean nothing; but if a number of ours for the same model and card were "
        "several times off, it would be a mistake of ours."
    )
    return [Text(words), external_table()]


def _each(
    records: Records,
    kind: type[K],
    parts: Sequence[Callable[[Run[K], str], Sequence[Table] | Sequence[Figure]]],
    *,
    words: str,
    missing: str,
    command: str,
    most: int = MOST,
    telling: Callable[[Run[K]], float] = lambda record: 0,
) -> list[Block]:
    """The blocks that `parts` make of at most `most` records of a kind, the most telling
    first, figures side by side; without any, what is missing and the command that would record it.
    """
    chosen = sorted(measured(records, kind), key=telling, reverse=True)[:most]
    blocks: list[Block] = []
    for i, record in enumerate(chosen):
        for part in parts:
            made = part(record, suffix(i))
            blocks += side_by_side([block for block in made if isinstance(block, Figure)])
            tables = [block for block in made if isinstance(block, Table)]
            if kind is DataPath:
                tables = [with_warning(table, [record]) for table in tables]
            blocks += tables
    if not blocks:
        return [Text(words), *to_fill(missing, command)]
    return [Text(words), *blocks]
