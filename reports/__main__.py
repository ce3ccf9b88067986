"""`python -m reports`: records in, one page out."""

from dataclasses import dataclass
from pathlib import Path

from catlip.cli import run
from reports.cells import as_text
from reports.page import write_report
from reports.records import read_records
from reports.sections import RUN_ALL, build_page


@dataclass(frozen=True)
class Report:
    """Turn records into one page, with the paper's numbers beside ours.

    python -m reports --records runs/ reports/records/ --out report/
    python -m reports --records runs/starter/vocabulary/vocabulary-statistics.json --out report/

    Writes index.html (opens from disk, needs no network), report.md, tables/*.csv, figures/*.png and *.svg.
    """

    records: tuple[Path, ...] = (Path("runs"), Path("reports/records"))
    """Folders that hold <scale>/<kind>/<name>.json, or such files; the first with trainings or probes speaks first."""
    out: Path = Path("report")
    """Where the report is written."""


def main(config: Report) -> None:
    """Read, build, write; then print the headline table and where the page is."""
    records = read_records(config.records)
    page = build_page(records)
    path = write_report(page, config.out)
    print(as_text(page.headline) if page.headline else f"no trainings or probes recorded yet; run {RUN_ALL} first")
    if records.problems:
        print(f"\n{len(records.problems)} left out, with reasons at the end of the page")
    print(f"\nreport: {path}")


if __name__ == "__main__":
    run(Report, main)
