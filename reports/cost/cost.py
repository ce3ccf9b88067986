"""The page's sections on cost: a step's time, memory and bytes, where a speed-up comes from, and
the projection to many devices.

Each section is a function of the records of a few kinds. A section without records shows the
command that would fill it.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from bench.communication.figures import communication_figure
from bench.communication.result import Communication, exchange_tables
from bench.data_path.result import data_path_section
from bench.memory.figures import memory_figures
from bench.memory.result import Memory, memory_tables
from bench.plan.result import Analytic, Projection, plan_section, projection_section
from bench.step_time.bias_init_figures import bias_init_sections
from bench.step_time.compiling_result import Compiling, when_it_pays
from bench.step_time.figures import phases_figure, tables_by_device
from bench.step_time.result import StepTime
from bench.waterfall.figures import attribution, waterfall_figures
from bench.waterfall.result import Waterfall, waterfall_tables
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.caveats import with_warning
from catlip.results.devices import measured
from catlip.results.figures import Figure
from catlip.results.kind import Kind
from catlip.results.pretrained import ENCODERS, architecture
from catlip.results.rules import MOST, suffix
from catlip.results.run import Records, Run
from catlip.table import Table
from reports.paper.external import external_table
from reports.read.measured import Setting

TIME_STEPS = "python -m bench.step_time --model vit_b16 --out runs/starter/step_time"
MEMORY = "python -m bench.memory --model vit_b16 --batch-sizes 4 8 16"
COMMUNICATION = "torchrun --nproc-per-node 2 -m bench.communication"
WATERFALL = "python -m bench.waterfall"

K = TypeVar("K", bound=Kind)
# Kinds of record that a GPU should measure; a CPU's only stand in for them.
TIMED_ON_A_GPU = ("waterfall", "communication")
TIMED = ("waterfall", "communication")  # kinds of record whose tables hold times
ON_A_CPU = (
    "Numbers marked (CPU) were measured on a CPU: they show that the program works and in which "
    "direction a number goes. On a GPU, arithmetic, memory and waiting weigh differently, so "
    "neither times nor ratios carry over."
)


def cost_sections(main: Setting | None, records: Records) -> list[Section]:
    """All sections on cost, in the order of the page."""
    return [
        *bias_init_sections(records),
        Section("step-time", "A training step", _steps(main, records)),
        Section("waterfall", "One factor at a time", _waterfall(records)),
        Section("memory", "Memory", _memory(records)),
        Section("communication", "Communication", _communication(records)),
        projection_section(records),
        plan_section(records),
        data_path_section(records),
        Section("external", "Are these numbers plausible?", _external()),
    ]


def _steps(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "One step of each method on the same synthetic batch, in turns in one process: forward, "
        "loss, backward, optimizer. Images are already on the device and one device sends nothing, "
        "so this is the cost of computing alone; reading images and exchanging between devices "
        "have their own sections."
    )
    timed = measured(records, StepTime)
    if not timed:
        return to_fill("No step has been timed.", TIME_STEPS)
    first = main.step_time if main else None
    drawn = sorted(timed, key=lambda record: record is not first)[:MOST]
    figures = []
    for i, record in enumerate(drawn):
        figures += phases_figure(record, f"step_phases{suffix(i)}")
    caution = [Text(ON_A_CPU)] if any(record.is_cpu for record in timed) else []
    pays = when_it_pays(measured(records, Compiling))
    said = [Text(pays)] if pays else []
    return [Text(words), *caution, *side_by_side(figures), *tables_by_device(timed), *said]


def _waterfall(records: Records) -> list[Block]:
    words = (
        "The paper's 2.7 is of whole trainings, and its release trains CLIP and CatLIP with "
        "different attention, precision, image sizes and more. Here a training step goes from the "
        "released CLIP configuration to the released CatLIP one, one change at a time. Each change "
        "is timed before and after in turns; then all changes once more in reverse order, because "
        "the effect of one may depend on those before it. Reading images and the number of epochs "
        "are not included."
    )
    blocks = _each(
        records,
        Waterfall,
        (waterfall_figures, waterfall_tables),
        words=words,
        missing="No factor has been timed.",
        command=WATERFALL,
    )
    timed = measured(records, Waterfall)
    counted = measured(records, Analytic)
    projected = measured(records, Projection)
    if not (timed and counted and projected):
        return blocks
    said = attribution(timed[0], counted[0], projected[0])
    return [blocks[0], Text(said), *blocks[1:]] if said else blocks


def _memory(records: Records) -> list[Block]:
    words = (
        "The peak memory of a whole training step, what uses it, and what arithmetic predicts. "
        "Memory decides how many images fit on a device. The parts do not include what libraries "
        "take for themselves outside of tensors."
    )
    return _each(
        records,
        Memory,
        (memory_figures, memory_tables),
        words=words,
        missing="The memory of a step was not measured.",
        command=MEMORY,
        most=1,
        telling=lambda record: architecture(record.setup.model) in ENCODERS,
    )


def _communication(records: Records) -> list[Block]:
    words = (
        "What ranks send each other in a step: every method sums gradients, and the contrastive "
        "ones also exchange features. Part of it overlaps with the backward pass; a step "
        "waits for the rest. Times depend on the link between the ranks: bytes carry over to other "
        "machines, milliseconds do not."
    )
    return _each(
        records,
        Communication,
        (communication_figure, exchange_tables),
        words=words,
        missing="What ranks send was not measured.",
        command=COMMUNICATION,
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
            if kind.kind in TIMED:
                tables = [with_warning(table, [record]) for table in tables]
            blocks += tables
    if not blocks:
        return [Text(words), *to_fill(missing, command)]
    if kind.kind in TIMED_ON_A_GPU and any(record.is_cpu for record in chosen):
        blocks.insert(0, Text(ON_A_CPU))
    return [Text(words), *blocks]
