"""All tables and figures of the page, in its order. A new one is one line here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from bench.communication.result import COLLECTIVES, COMMUNICATION
from bench.downstream.dense.result import DENSE
from bench.downstream.retrieval.result import RETRIEVAL
from bench.memory.result import MEMORY
from bench.plan.result import ANALYTIC, PLANNED
from bench.self_check.result import CHECKS
from bench.step_time.result import STEP_TIME, StepTime
from bench.study.result import THRESHOLDS, TRIALS
from bench.waterfall.result import WATERFALL
from catlip.label.result import AUDIT
from catlip.pretraining.result import TRAININGS
from catlip.records.profile import PROFILES
from catlip.records.table import Column, Row, Spec, Table
from catlip.vocabulary.result import LABELS, OVERLAP
from reports import charts, tables
from reports.factorial import CELLS_TABLE, EFFECTS, HYPOTHESES
from reports.figures import Figure
from reports.names import data_of
from reports.pairs import Comparisons
from reports.paper.claims import CLAIMS, RULES, VERDICTS, VERSIONS
from reports.paper.paper_tables import INDEX, RESULTS
from reports.paper.recipe_tables import RECIPES

PLACE = "place"  # key of the data set that a bench's row is of


@dataclass(frozen=True)
class Group:
    """Tables and figures that a reader opens together."""

    anchor: str
    title: str
    specs: Sequence[Spec]
    charts: Sequence[Callable[[Comparisons], list[Figure]]] = ()


SCREENS = (tables.MAIN, tables.COSTS, VERDICTS, INDEX)  # what is not folded
GROUPS = (
    Group(
        "accuracy",
        "Accuracy",
        [
            tables.METHODS,
            CELLS_TABLE,
            EFFECTS,
            HYPOTHESES,
            tables.EVERY,
            tables.EQUAL_COST,
            tables.FEW_LABELS,
            DENSE,
            RETRIEVAL,
            TRIALS,
            TRAININGS,
        ],
        [charts.forest, charts.lengths, charts.few_labels],
    ),
    Group(
        "cost",
        "Cost",
        [
            CHECKS,
            STEP_TIME,
            replace(PROFILES, kinds=[StepTime]),
            WATERFALL,
            MEMORY,
            COMMUNICATION,
            COLLECTIVES,
            tables.ACCOUNT,
            ANALYTIC,
            PLANNED,
        ],
        [charts.waterfalls],
    ),
    Group(
        "captions",
        "Captions and vocabulary",
        [LABELS, AUDIT, OVERLAP, THRESHOLDS],
        [charts.captions, charts.thresholds],
    ),
    Group("data", "Data", [tables.DATA, tables.TASKS]),
    Group("claims", "The paper's claims", [CLAIMS, RULES, VERSIONS]),
    Group("paper", "The paper's tables, and ours", [*RESULTS, RECIPES]),
    Group("left-out", "Files that were left out", [tables.LEFT_OUT]),
)


def fill(spec: Spec, comparisons: Comparisons) -> Table:
    """Of a bench's table accelerators come first, then the data most like the paper's; no row is of
    two data sets.
    """
    if not spec.kinds:
        return spec.fill(comparisons)
    rows = list[Row]()
    for is_cpu, place in product((False, True), comparisons.settings):
        runs = [run for kind in spec.kinds for run in comparisons.of(*place, kind)]
        runs = sorted((run for run in runs if run.is_cpu == is_cpu), key=lambda run: run.name)
        rows += ({PLACE: data_of(*place).name, **row} for row in spec.rows(runs))
    assert not callable(spec.columns)
    columns = [Column("Records of", PLACE, head=True), *spec.columns]
    return Table(spec.name, spec.title, spec.about, columns, rows)
