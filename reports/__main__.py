"""`python -m reports`: turns records into one page; with subcommands, which `subcommands` lists."""

import gc
from dataclasses import dataclass
from pathlib import Path

from catlip.cli import Program, run
from catlip.system.lock import only_writer
from reports.check import Check, check
from reports.compare import Compare, compare
from reports.pairs import WritePairs, write_pairs
from reports.read.records import read_records
from reports.readme import Readme, write_readme
from reports.results import WriteFrame, write_frame

DEFAULT = (Path("runs"), Path("reports/records"))


@dataclass(frozen=True)
class Report:
    """Turn records into one page, with the paper's numbers beside ours.

    python -m reports --records runs/ reports/records/ --out report/
    python -m reports --records runs/starter/vocabulary/vocabulary-statistics.json --out report/

    Writes index.html (opens from disk, needs no network), report.md, tables/*.csv, figures/*.png
    and *.svg, and records/*.json, which the page's numbers lead to.

    Five subcommands have a --help of their own: `check` says what is wrong with records that
    others contribute; `compare` shows how two runs, or two folders of runs, differ; `frame` writes
    every number of every record as one table for your own notebook; `pairs` the differences of two
    methods, with their intervals; `readme` writes the results of the committed records into
    README.md.
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
    from catlip.records.table import as_text
    from reports.render.page import write_report
    from reports.sections import RUN_ALL, build_page

    # Records and the page have no reference cycles, and the garbage collector's search for some
    # takes twice as long as reading 10,000 records.
    gc.disable()
    # Before the first run there is no runs/; a folder that was named has to be there.
    records = read_records([p for p in config.records if p not in DEFAULT or p.exists()])
    page = build_page(records)
    gc.freeze()
    gc.enable()  # plots have reference cycles
    with only_writer(config.out):
        path = write_report(page, config.out, single_file=config.single_file)
    if page.headline:
        print(as_text(page.headline))
    for answer in page.answers:
        print(f"\n{answer.question} {answer.short}")
    if not page.answers:
        print(f"no trainings or probes recorded yet; run {RUN_ALL} first")
    if records.problems:
        print(f"\nfiles left out: {len(records.problems)}, with reasons at the end of the page")
    print(f"\nreport: {path}")


if __name__ == "__main__":
    subcommands: dict[str, Program] = {
        "check": (Check, check),
        "compare": (Compare, compare),
        "frame": (WriteFrame, write_frame),
        "pairs": (WritePairs, write_pairs),
        "readme": (Readme, write_readme),
    }
    run(Report, main, subcommands=subcommands)
