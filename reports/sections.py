"""Builds the page's sections of text, commands, tables and figures from the records, in page order.

A section that has nothing to show says which command would fill it. The same sections are rendered
as HTML and as markdown, so both have the same content.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import bench.communication.result
import bench.downstream.gallery.result
import bench.downstream.retrieval.result
import bench.memory.result
import bench.self_check.result
import bench.step_time.result
import bench.waterfall.result
from bench.downstream.dense.result import section as dense_section
from bench.downstream.probe.result import LinearProbe
from bench.downstream.probe.sections import few_labels_section, worth_section
from bench.plan.result import Plan, projection_section, savings_table
from bench.study.lengths_result import LENGTHS, LengthTraining, cost_panels
from bench.study.result import conditions_section, threshold_section, tuning_section
from catlip.pretraining.result import Pretrain
from catlip.records.blocks import (
    Answer,
    Answers,
    Block,
    Chips,
    Command,
    Figures,
    Picture,
    Pictures,
    Points,
    Section,
    Text,
    command_to_fill,
    side_by_side,
)
from catlip.records.figures import Figure
from catlip.records.run import Records
from catlip.records.select import COMMITTED, broken_images, unique_runs
from catlip.records.styles import learn
from catlip.records.table import Table
from catlip.vocabulary.result import overlap_section, vocabulary_section
from reports.paper.claims import Verdict, claims_tables, counts_sentence, verdicts
from reports.paper.paper_tables import result_tables
from reports.paper.recipe_tables import count_differences, recipe_tables, without_equal_rows
from reports.read.setting import Setting, settings
from reports.render.provenance import date_and_revision, records_section
from reports.summary import doubts, plots
from reports.summary.answers import about, advice, as_good, why
from reports.summary.chips import chips
from reports.summary.costs import cheaper, cost_table
from reports.summary.forest import forest_section
from reports.summary.ladder import ladder_section
from reports.summary.near_and_far import near_and_far
from reports.summary.pictures import pictures
from reports.summary.tables import headline

RUN_ALL = "./run_all.sh"


@dataclass(frozen=True)
class Appendix:
    """A group of sections that the reader opens together."""

    anchor: str
    title: str
    about: str
    sections: Sequence[Section]


@dataclass(frozen=True)
class Page:
    """The whole report: the line below the title, the date and revision of the last record, the
    headline table (None without a training or a probe), the section that is always visible, the
    appendices, and the records that its numbers lead to.
    """

    about: str
    date_and_revision: str
    headline: Table | None
    summary: Section
    appendices: Sequence[Appendix]
    records: Records

    @property
    def sections(self) -> list[Section]:
        return [self.summary, *(s for appendix in self.appendices for s in appendix.sections)]

    @property
    def blocks(self) -> list[Block]:
        return [block for section in self.sections for block in section.blocks]

    @property
    def tables(self) -> list[Table]:
        return [block for block in self.blocks if isinstance(block, Table)]

    @property
    def figures(self) -> list[Figure]:
        groups = [block for block in self.blocks if isinstance(block, Figures)]
        return [figure for group in groups for figure in group.figures]

    @property
    def answers(self) -> list[Answer]:
        groups = [block for block in self.blocks if isinstance(block, Answers)]
        return [answer for group in groups for answer in group.answers]

    @property
    def pictures(self) -> list[Picture]:
        rows = [row for block in self.blocks if isinstance(block, Pictures) for row in block.rows]
        return [picture for _, pictures in rows for picture in pictures]

    @property
    def anchors(self) -> list[str]:
        """The anchors of all records that a number leads to."""
        cells = [cell for table in self.tables for row in table.rows for cell in row]
        anchors = [cell.anchor for cell in cells]
        anchors += [anchor for answer in self.answers for anchor, _ in answer.sources]
        for block in self.blocks:
            if isinstance(block, Chips):
                anchors += [chip.anchor for _, group in block.groups for chip in group]
        return [anchor for anchor in anchors if anchor]


def build_page(records: Records) -> Page:
    """Build the whole report from the records and the published numbers."""
    learn(record.shown_as for record in records.every)
    # The main setting is the first with trainings; else the first with probes; else the first.
    every = sorted(settings(records), key=lambda s: (not s.of(Pretrain), not s.methods))
    main = every[0] if every else None
    others = [setting for setting in every[1:] if setting.methods]
    about = (
        f"{_nothing(records)}: below are the paper's results, the commands that measure the same, "
        "and what was measured."
    )
    title = ""
    if main:
        runs = [record for record in main.records if record.device == main.device]
        is_cpu = bool(runs) and all(record.is_cpu for record in runs)
        where = "a CPU" if is_cpu else main.device or "an unknown device"
        is_ours = main.root.endswith(COMMITTED)
        whose = "Our test" if is_ours else f"Your records in {main.root}/{main.scale}, measured"
        about = f"{whose} on {where}, beside the paper's."
        title = f"All methods, on {where}"
    table = headline(main, title=title) if main and main.methods else None
    judged = verdicts(records)
    appendices = [
        Appendix(
            "claims-of-the-paper",
            "The paper's claims, and what our records say",
            counts_sentence(judged),
            sections=[Section("claims", "Claims and rules", claims_tables(records, judged))],
        ),
        Appendix(
            "transfer",
            "What the encoders are worth",
            "Every difference; probes; labels, masks, boxes; few images, noise, tuning.",
            sections=[
                forest_section(every),
                _lengths(main),
                ladder_section(main),
                worth_section(main, records),
                *bench.downstream.retrieval.result.section(main, records),
                bench.downstream.gallery.result.section(main, records),
                dense_section(main, records),
                few_labels_section(main, records),
                conditions_section(main, records),
                tuning_section(main, records),
                _training(main),
            ],
        ),
        Appendix(
            "costs",
            "What they cost",
            "Time, memory and communication of a step; one factor at a time.",
            sections=[
                *bench.self_check.result.section(records),
                bench.step_time.result.section(main, records),
                bench.waterfall.result.section(main, records),
                bench.memory.result.section(main, records),
                bench.communication.result.section(main, records),
                projection_section(records),
            ],
        ),
        Appendix(
            "captions",
            "Captions and vocabulary",
            "What captions name, and the labels that result.",
            sections=[
                vocabulary_section(main, records),
                overlap_section(main, records),
                threshold_section(main, records),
            ],
        ),
        Appendix(
            "published",
            "The paper's tables, and the recipes",
            "As published, with ours beside them at the same scale.",
            sections=[*_elsewhere(others), _paper(records), _recipes()],
        ),
        Appendix(
            "provenance",
            "Where every number came from",
            f"{len(records.every):,} records.",
            sections=[records_section(records)],
        ),
    ]
    summary = _summary(main, table, records, others=every[1:], judged=judged)
    return Page(about, date_and_revision(records), table, summary, appendices, records)


def _summary(
    main: Setting | None,
    table: Table | None,
    records: Records,
    *,
    others: Sequence[Setting],
    judged: Mapping[str, Verdict],
) -> Section:
    """Two screens: pictures, three answers, accuracy against cost; the methods, the doubts, and the
    verdicts.
    """
    title = "Is CatLIP as good as CLIP, and is it cheaper?"
    if main is None:
        words = (
            f"{_nothing(records)}. The command below fetches the starter data, trains CatLIP and "
            "CLIP on it, probes and times both, and writes this page again; it needs no GPU."
        )
        return Section("summary", title, [Text(words), Command(RUN_ALL)])
    blocks: list[Block] = [Text(words)] if (words := about(main, others)) else []
    blocks += pictures(main)
    blocks.append(Answers([as_good(main, others), cheaper(main, others), why(main, records)]))
    blocks += side_by_side(near_and_far([main, *others]))
    if table:
        blocks.append(table)
    elif not main.differences:  # which a study alone has
        blocks += command_to_fill("No training or probe has been recorded.", RUN_ALL)
    blocks += [cost] if (cost := cost_table(main)) else []
    priced = [plan for plan in unique_runs(records, Plan) if plan.metrics.price]
    blocks += [savings_table(plan) for plan in priced[:1]]
    if left_out := broken_images([*main.of(Pretrain), *main.of(LinearProbe)]):
        blocks.append(Text(f"Beware: {left_out}"))
    if points := doubts.doubts(main):
        blocks.append(Points(doubts.title(main), points))
    blocks += [Text(words)] if (words := advice(main, others)) else []
    return Section("summary", title, [*blocks, *chips(judged)])


def _nothing(records: Records) -> str:
    """Why there is no answer."""
    if not records.every:
        return "Nothing has been trained or timed yet"
    count = len(records.every)
    return (
        f"Of {count:,} record{'s' * (count != 1)} none is of a training, a probe or a step's time"
    )


def _lengths(main: Setting | None) -> Section:
    panels = list[Block]()
    if main:
        untrained = {task: main.accuracy("random", task) for task in main.tasks}
        floor = {task: found.mean for task, found in untrained.items() if found}
        panels = cost_panels(main.of(LengthTraining), first=main.tasks, floor=floor)
    missing = command_to_fill("No training of several lengths has been recorded.", LENGTHS)
    return Section("lengths", "Accuracy against the operations of a training", panels or missing)


def _training(main: Setting | None) -> Section:
    blocks = command_to_fill("No training has been recorded.", RUN_ALL)
    if main and main.of(Pretrain):
        blocks = plots.loss_panels(main)
    return Section("loss", "Training", blocks)


def _elsewhere(others: Sequence[Setting]) -> list[Section]:
    words = "These runs differ in machine, scale or source from those above."
    tables = [
        replace(headline(setting, f"headline_{i}"), folded=True)
        for i, setting in enumerate(others, 2)
    ]
    return [Section("elsewhere", "Other records", [Text(words), *tables])] if others else []


def _recipes() -> Section:
    tables = recipe_tables()
    words = (
        f"Our recipes beside the paper's; of our cells, {count_differences(tables)} differ from "
        "the paper's and are marked ≠. A dash is a field that our recipe does not set; footnotes "
        "say where the release's configuration files differ."
    )
    blocks: list[Block] = [Text(words), *map(without_equal_rows, tables)]
    return Section("recipes", "Recipes: the paper's Tables 6 and 7", blocks)


def _paper(records: Records) -> Section:
    words = (
        "As published; a footnote says where the paper contradicts itself, or the release it. "
        "Our columns hold encoders that were pre-trained on the paper's data: mean ± sample "
        "standard deviation over pre-trainings. The table of rules above has the commands."
    )
    tables = result_tables(records)
    return Section("paper", "The paper's results: Tables 1 to 5", [Text(words), *tables])
