"""`python -m reports readme`: README's answer and docs/results.md, from the records, tables and
templates as the page.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from catlip.records.run import Records
from reports.charts import headline
from reports.figures import render
from reports.page import fill_document
from reports.pairs import Comparisons
from reports.reading import read_records

BLOCK = re.compile(r"(<!-- Written by `python -m reports readme` -->\n).*?(<!-- until here)", re.S)
README, RESULTS, RECORDS = Path("README.md"), Path("docs/results.md"), Path("reports/records")


@dataclass(frozen=True)
class Readme:
    """Write the results of the committed records into README.md and docs/results.md, and their
    figure.

    python -m reports readme
    """


def write_readme(config: Readme) -> None:
    records = read_records([RECORDS])
    written = {
        README: fill_readme(README.read_text(encoding="utf-8"), records),
        RESULTS: fill_document("results.md", records),
    }
    for path, text in written.items():
        before = path.read_text(encoding="utf-8")
        path.write_text(text, encoding="utf-8")
        print(f"{path}: {'as before' if before == text else 'written again'}")
    for figure in headline(Comparisons(records)):
        path = RECORDS.parent / "headline.png"
        path.write_bytes(render(figure).png)
        print(f"{path}: written")


def fill_readme(text: str, records: Records) -> str:
    answer = fill_document("answer.md", records)
    return BLOCK.sub(lambda found: f"{found[1]}\n{answer}\n{found[2]}", text)
