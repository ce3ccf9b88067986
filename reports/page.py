"""Writes the report's files: one self-contained page, its tables as markdown and CSV, its figures
as PNG and SVG, and the records that its numbers came from.

Of this repository's records the page has words by hand, which the build holds to the records; of a
user's own it has what they say in a few sentences, and ours folded below.
"""

import base64
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from catlip.label.result import Example, Examples
from catlip.records.claims import min_pairs
from catlip.records.run import Records, Run, slug
from catlip.records.styles import learn
from catlip.records.table import MISSING, RECORDS, Table, as_csv, as_markdown
from catlip.system.files import write_atomically
from catlip.system.foreign import printable
from reports.charts import CHARTS, headline
from reports.figures import Figure, render, svg_for_page
from reports.names import data_of, data_sets, is_committed, synset_name
from reports.pairs import FEW, NOT_ABOVE, Comparisons, Difference
from reports.paper.claims import CLAIMS, NOT_TESTED, RULES, VERDICTS, VERSIONS, verdicts
from reports.paper.paper_tables import INDEX, result_tables
from reports.paper.recipe_tables import RECIPES
from reports.tables import COSTS, DATA, GROUPS, LEFT_OUT, MAIN, Group, tasks_table
from reports.words import Words

TEMPLATES = Path(__file__).parent / "templates"
PICTURES = 4  # of each data set
MAX_NAME = 120  # characters of a file's name
RUN_ALL = "./run_all.sh"


@dataclass(frozen=True)
class Filled:
    """A group of tables and figures that a reader opens together."""

    anchor: str
    title: str
    tables: Sequence[Table]
    figures: Sequence[Figure]
    missing: Sequence[tuple[str, str]]  # title and command of what was not run


@dataclass(frozen=True)
class Picture:
    """A training image as PNG (None where only its caption may be shown), with what it teaches."""

    png: bytes | None
    caption: str
    classes: str


class Page:
    """Everything that the templates show of some records."""

    def __init__(self, records: Records):
        learn(record.shown_as for record in records.every)
        self.records = records
        own = [run for run in records.every if not is_committed(run.root)]
        ours = [run for run in records.every if is_committed(run.root)]
        self.is_ours = not own and {*data_sets()} <= {run.scale for run in ours}
        self.comparisons = Comparisons(replace(records, every=tuple(own or ours)))
        self.theirs = Comparisons(replace(records, every=tuple(ours))) if own and ours else None
        self.words = Words(self.comparisons, self.table)
        self.judged = verdicts(self.comparisons)

    @cached_property
    def main(self) -> Table:
        return MAIN.fill(self.comparisons)

    @cached_property
    def costs(self) -> Table:
        return COSTS.fill(self.comparisons)

    @cached_property
    def claims(self) -> Table:
        return VERDICTS.fill(self.judged)

    @cached_property
    def index(self) -> Table:
        return INDEX.fill(self.comparisons)

    @cached_property
    def headline(self) -> list[Figure]:
        return headline(self.comparisons)

    @cached_property
    def groups(self) -> list[Filled]:
        """What is folded."""
        shown = {figure.name for figure in self.headline}
        made = [_filled(group, self.comparisons, shown) for group in GROUPS]
        data = [DATA.fill(self.comparisons), tasks_table(self.comparisons)]
        claims = [CLAIMS.fill(self.judged), RULES.fill(None), VERSIONS.fill(self.comparisons)]
        paper = [*result_tables(self.comparisons), RECIPES.fill(None)]
        made += [
            Filled("data", "Data", [table for table in data if table.rows], [], []),
            Filled("claims", "The paper's claims", claims, [], []),
            Filled("paper", "The paper's tables, and ours", paper, [], []),
        ]
        if self.records.problems:
            left_out = LEFT_OUT.fill(self.comparisons)
            made.append(Filled("left-out", "Files that were left out", [left_out], [], []))
        if self.theirs:
            tables = [MAIN.fill(self.theirs), COSTS.fill(self.theirs)]
            ours = [replace(one, name=f"ours_{one.name}") for one in tables if one.rows]
            made.append(Filled("ours", "This project's own records", ours, [], []))
        return made

    @cached_property
    def tables(self) -> list[Table]:
        folded = [table for group in self.groups for table in group.tables]
        return [self.main, self.costs, self.claims, self.index, *folded]

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    @cached_property
    def figures(self) -> dict[str, Figure]:
        every = [*self.headline, *(figure for group in self.groups for figure in group.figures)]
        return {figure.name: figure for figure in every}

    @cached_property
    def pictures(self) -> list[tuple[str, list[Picture]]]:
        """Data set -> some of its training images, evenly spread."""
        found = []
        for root, scale in self.comparisons.settings:
            for run in self.comparisons.of(root, scale, Examples)[:1]:
                rows = run.rows("pictures", Example)
                step = max(1, len(rows) // PICTURES)
                shown = [_picture(row) for row in rows[::step][:PICTURES]]
                found.append((data_of(root, scale).name, shown))
        return found

    @cached_property
    def anchors(self) -> dict[str, str]:
        """Name of a table or figure -> where it is on the page."""
        of_tables = {table.name: f"table-{table.name}" for table in self.tables if table.rows}
        return of_tables | {name: f"figure-{name}" for name in self.figures}

    # What a user's page says.

    @property
    def has_intervals(self) -> bool:
        return any(one.has_interval for one in self.comparisons.headline)

    @property
    def judged_tasks(self) -> list[Difference]:
        """Those with an interval, or else all."""
        every = self.comparisons.headline
        return [one for one in every if one.has_interval] or every

    def count(self, *outcomes: str) -> int:
        return sum(one.verdict in outcomes for one in self.judged_tasks)

    @property
    def leads(self) -> list[float]:
        """The least and the most of the points of all tasks and seeds."""
        points = [point for one in self.comparisons.headline for point in one.points.values()]
        return [min(points), max(points)] if points else []

    @property
    def seeds(self) -> int:
        return max((len(one.points) for one in self.comparisons.headline), default=0)

    @property
    def tested_claims(self) -> int:
        return sum(one.outcome != NOT_TESTED for one in self.judged.values())

    @property
    def doubts(self) -> list[str]:
        """Names of records whose times are in doubt."""
        runs: list[Run[Any]] = [*self.comparisons.records.every]
        return [run.name for run in runs if run.kind == "step_time" and run.environment.doubts]

    FEW, NOT_ABOVE, MIN_PAIRS = FEW, NOT_ABOVE, min_pairs()

    def record_file(self, paths: Sequence[str]) -> str:
        """The file, beside the page, with these records."""
        if len(paths) == 1:
            return f"records/{slug(paths[0].removesuffix('.json'))[-MAX_NAME:]}.json"
        return f"records/{sha256(' '.join(paths).encode()).hexdigest()[:16]}.json"


def _filled(group: Group, comparisons: Comparisons, shown: Collection[str]) -> Filled:
    tables, missing = list[Table](), list[tuple[str, str]]()
    for entry in group.tables:
        table = entry.fill(comparisons)
        if table.rows:
            tables.append(table)
        elif entry.command:
            missing.append((table.title, entry.command))
    figures = [figure for make in CHARTS.get(group.anchor, ()) for figure in make(comparisons)]
    kept = [figure for figure in figures if figure.name not in shown]
    return Filled(group.anchor, group.title, tables, kept, missing)


def _picture(row: Example) -> Picture:
    png = None
    if row.image and len(row.image) < 1_000_000:
        try:
            with Image.open(io.BytesIO(base64.b64decode(row.image, validate=True))) as image:
                image.thumbnail((96, 96))
                body = io.BytesIO()
                image.convert("RGB").save(body, "PNG")
                png = body.getvalue()
        except (ValueError, OSError, SyntaxError, Image.DecompressionBombError):
            png = None
    classes = ", ".join(map(synset_name, row.classes)) or MISSING
    return Picture(png, row.caption[:80], classes)


def write_report(records: Records, out: Path, *, single_file: bool = False) -> Page:
    """Make everything in memory, then write it. `index.html` is written last, after the files that
    it links to. Files of an earlier report that this one does not write are left alone.
    """
    page = Page(records)
    drawn = {name: render(figure) for name, figure in page.figures.items()}
    inline = {name: Markup(svg_for_page(one.svg, name)) for name, one in drawn.items()}
    environment = _environment()
    environment.globals |= {"single_file": single_file, "svg": inline}
    name = "ours.html" if page.is_ours else "user.html"
    html = printable(environment.get_template(name).render(page=page, words=page.words))
    files: dict[str, bytes] = {}
    if not single_file:
        files |= {f"tables/{table.name}.csv": as_csv(table).encode() for table in page.tables}
        for figure, rendered in drawn.items():
            files[f"figures/{figure}.png"] = rendered.png
            files[f"figures/{figure}.svg"] = printable(rendered.svg).encode()
        files["report.md"] = printable("\n\n".join(map(_section, page.tables))).encode()
        files |= _record_files(page)
    files["index.html"] = html.encode("utf-8", "replace")
    for path, content in files.items():
        # A reader sees the old file or the whole new one.
        write_atomically(out / path, content, sync=False)
    return page


def _section(table: Table) -> str:
    return "\n\n".join(filter(None, (f"## {table.title}", table.about, as_markdown(table))))


def _record_files(page: Page) -> dict[str, bytes]:
    """The records behind each row: one as it is, several by their paths."""
    groups = {row[RECORDS] for table in page.tables for row in table.rows if row.get(RECORDS)}
    contents = {path: Path(path).read_bytes().strip() for paths in groups for path in paths}
    files = {}
    for paths in groups:
        if len(paths) == 1:
            content = contents[paths[0]]
        else:
            content = b"{\n" + b",\n".join(b'"%b": %b' % (p.encode(), contents[p]) for p in paths)
            content += b"\n}"
        files[page.record_file(paths)] = content + b"\n"
    return files


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["base64"] = lambda png: base64.b64encode(png).decode()
    environment.filters["csv"] = lambda table: base64.b64encode(as_csv(table).encode()).decode()
    environment.filters["markdown"] = as_markdown
    for file in ("style.css", "open.js", "copy.js"):
        name = file.partition(".")[0]
        environment.globals[name] = Markup((TEMPLATES / file).read_text(encoding="utf-8"))
    return environment


def fill_document(template: str, records: Records) -> str:
    """A markdown document of this repository's records."""
    page = Page(records)
    every = {table.name: table for table in page.tables}
    text = _environment().get_template(template).render(page=page, words=page.words, tables=every)
    return f"{text.strip()}\n"
