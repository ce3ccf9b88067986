"""The page's sections on cost, in their order; each is a function beside what measures it."""

import bench.communication.result
import bench.memory.result
import bench.step_time.result
import bench.waterfall.result
from bench.data_path.result import data_path_section
from bench.plan.result import plan_section, projection_section
from catlip.results.blocks import Section, Text
from catlip.results.run import Records
from reports.paper.external import external_table
from reports.read.measured import Setting

EXTERNAL = (
    "Rates that other people published for their trainings. Hardware, model, batch, precision and "
    "what counts as time differ from ours and from each other, so ratios to the rates of our steps "
    "mean nothing; but if a number of ours for the same model and card were several times off, it "
    "would be a mistake of ours."
)


def cost_sections(main: Setting | None, records: Records) -> list[Section]:
    """All sections on cost, in the order of the page."""
    return [
        bench.step_time.result.section(main, records),
        bench.waterfall.result.section(main, records),
        bench.memory.result.section(main, records),
        bench.communication.result.section(main, records),
        projection_section(records),
        plan_section(records),
        data_path_section(records),
        Section("external", "Are these numbers plausible?", [Text(EXTERNAL), external_table()]),
    ]
