"""`python -m reports`: turns records into one page; with subcommands, which `subcommands` lists."""

import gc
from dataclasses import dataclass
from pathlib import Path

from catlip.cli import Program, run
from catlip.system.lock import only_writer
from reports.check import Check, check
from reports.frame import WriteFrame, write_frame
from reports.pairs import WritePairs, write_pairs
from reports.reading import read_records
from reports.readme import Readme, write_readme

DEFAULT = (Path("runs"), Path("reports/records"))


@dataclass(frozen=True)
class Report:
    """Turn records into one page, with the paper's numbers beside ours.

    python -m reports --records runs/ reports/records/ --out report/
    python -m reports --records runs/starter/vocabulary/vocabulary-statistics.json --out report/

    Writes index.html (opens from disk, needs no network), report.md, tables/*.csv, figures/*.png
    and *.svg, and records/*.json, which the page's numbers lead to.

    Four subcommands have a --help of their own: `check` says what is wrong with records that
    others contribute; `frame` writes every number of every record as one table for your own
    notebook; `pairs` the differences of two methods, with their intervals; `readme` writes the
    results of the committed records into README.md and docs/results.md.
    """

    records: tuple[Path, ...] = DEFAULT
    """Folders with records at any depth, or single records. The first folder with trainings gives
    the headline table.
    """
    out: Path = Path("report")
    """The folder that the report is written to."""
    single_file: bool = False
    """Write index.html alone, with records, tables and figures inside, to be mailed."""


def main(config: Report) -> None:
    from catlip.records.table import print_tables
    from reports.page import write_report

    # Records and the page have no reference cycles, and the garbage collector's search for some
    # takes twice as long as reading 10,000 records.
    gc.disable()
    # Before the first run there is no runs/; a folder that was named has to be there.
    records = read_records([p for p in config.records if p not in DEFAULT or p.exists()])
    with only_writer(config.out):
        page = write_report(records, config.out, single_file=config.single_file)
    print_tables([page.tables["main"], page.tables["costs"]])
    if records.problems:
        print(f"files left out: {len(records.problems)}, with reasons at the end of the page")
    print(f"report: {config.out / 'index.html'}")


if __name__ == "__main__":
    subcommands: dict[str, Program] = {
        "check": (Check, check),
        "frame": (WriteFrame, write_frame),
        "pairs": (WritePairs, write_pairs),
        "readme": (Readme, write_readme),
    }
    run(Report, main, subcommands=subcommands)
