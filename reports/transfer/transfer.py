"""The page's sections on what an encoder is worth: on new tasks, with little data, with Transfer
Init.

Each section is a function of the records of a few kinds. Each scale has tables and figures of its
own. The paper's tables are in another section. A section without records shows the command that
would fill it.
"""

from bench.downstream.dense.result import section as dense_section
from bench.downstream.probe import few_labels, transfer_gain, worth
from bench.study.lengths_result import Scaling, scaling_figures, scaling_section
from bench.study.result import robustness_section, tuning_section
from catlip.results.blocks import Section, side_by_side
from catlip.results.run import Records
from reports.read.measured import Setting
from reports.summary.plots import accuracy_figure


def transfer_sections(main: Setting | None, records: Records) -> list[Section]:
    """All sections on what an encoder is worth, in the order of the page."""
    # The accuracies stand at the top of the page, unless the accuracies at equal cost do.
    is_below = main is not None and bool(scaling_figures(main.of(Scaling)))
    figures = side_by_side(accuracy_figure(main)) if main and is_below else []
    return [
        worth.section(main, records, figures),
        dense_section(main, records),
        few_labels.section(main, records),
        transfer_gain.section(main, records),
        scaling_section(main, records),
        robustness_section(main, records),
        tuning_section(main, records),
    ]
