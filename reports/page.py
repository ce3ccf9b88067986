"""Writes the report's files: one self-contained page, its tables as markdown and CSV, its figures
as PNG and SVG, and the records that its numbers came from.

Of this repository's records the page has words by hand, which the build holds to the records; of a
user's own it has what they say in a few sentences, and ours folded below.
"""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import jinja2
from markupsafe import Markup
from PIL import Image

from catlip.label.result import Example, Examples
from catlip.records.claims import min_pairs
from catlip.records.run import Records, slug
from catlip.records.styles import learn
from catlip.records.table import MISSING, RECORDS, Table, as_csv, as_markdown
from catlip.system.files import write_atomically
from catlip.system.foreign import printable
from reports.charts import headline
from reports.contents import GROUPS, SCREENS, Group, fill
from reports.figures import Figure, render, svg_for_page
from reports.names import data_of, data_sets, is_committed, synset_name
from reports.pairs import Comparisons
from reports.paper.claims import verdicts
from reports.tables import COSTS, MAIN
from reports.words import Words

TEMPLATES = Path(__file__).parent / "templates"
PICTURES = 4  # of each data set
MAX_NAME = 120  # characters of a file's name


@dataclass(frozen=True)
class Filled:
    """A group of tables and figures that a reader opens together."""

    anchor: str
    title: str
    tables: Sequence[Table]
    figures: Sequence[Figure]
    missing: Sequence[tuple[str, str]]  # title and command of what was not run

    @property
    def is_empty(self) -> bool:
        return not (self.tables or self.figures or self.missing)


@dataclass(frozen=True)
class Picture:
    """A training image as PNG (None where only its caption may be shown), with what it teaches."""

    png: bytes | None
    caption: str
    classes: str


class Page:
    """Everything that the templates show of some records.

    Attributes:
        is_ours: whether these are this repository's records, about which there are words by hand.
        comparisons: of a user's own records, if there are any.
        headline: the figures of the first screen.
        groups: what is folded.
        tables, figures: all, by their names.
    """

    def __init__(self, records: Records):
        learn(record.shown_as for record in records.every)
        own = [run for run in records.every if not is_committed(run.root)]
        ours = [run for run in records.every if is_committed(run.root)]
        self.records = records
        self.is_ours = not own and {*data_sets()} <= {run.scale for run in ours}
        self.comparisons = Comparisons(replace(records, every=tuple(own or ours)))
        self.headline = headline(self.comparisons)
        first = {figure.name for figure in self.headline}
        self.groups = [_filled(group, self.comparisons, first) for group in GROUPS]
        if own and ours:
            theirs = Comparisons(replace(records, every=tuple(ours)))
            specs = [replace(spec, name=f"ours_{spec.name}") for spec in (MAIN, COSTS)]
            self.groups.append(_filled(Group("ours", "This project's own records", specs), theirs))
        self.groups = [group for group in self.groups if not group.is_empty]
        shown = [fill(spec, self.comparisons) for spec in SCREENS]
        shown += [table for group in self.groups for table in group.tables]
        self.tables = {table.name: table for table in shown}
        folded = [figure for group in self.groups for figure in group.figures]
        self.figures = {figure.name: figure for figure in (*self.headline, *folded)}
        self.judged = verdicts(self.comparisons)
        self.words = Words(self.comparisons, self.tables)

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

    @property
    def anchors(self) -> dict[str, str]:
        """Name of a table or figure -> where it is on the page."""
        of_tables = {name: f"table-{name}" for name, table in self.tables.items() if table.rows}
        return of_tables | {name: f"figure-{name}" for name in self.figures}

    @property
    def leads(self) -> list[float]:
        """CatLIP minus CLIP in points, of all tasks and seeds."""
        differences = self.comparisons.headline
        return [lead for found in differences for lead in found.points.values()]


def record_file(paths: Sequence[str]) -> str:
    """The file, beside the page, with these records."""
    if len(paths) == 1:
        return f"records/{slug(paths[0].removesuffix('.json'))[-MAX_NAME:]}.json"
    return f"records/{sha256(' '.join(paths).encode()).hexdigest()[:16]}.json"


def _filled(group: Group, comparisons: Comparisons, shown: Collection[str] = ()) -> Filled:
    """A group without the figures that are shown already."""
    tables, missing = list[Table](), list[tuple[str, str]]()
    for spec in group.specs:
        table = fill(spec, comparisons)
        if table.rows:
            tables.append(table)
        elif spec.command:
            missing.append((spec.title, spec.command))
    figures = [figure for draw in group.charts for figure in draw(comparisons)]
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
    inline = {name: Markup(svg_for_page(drawing.svg, name)) for name, drawing in drawn.items()}
    html = printable(render_html(page, inline, single_file))
    files: dict[str, bytes] = {}
    if not single_file:
        for name, table in page.tables.items():
            files[f"tables/{name}.csv"] = as_csv(table).encode()
        for name, drawing in drawn.items():
            files[f"figures/{name}.png"] = drawing.png
            files[f"figures/{name}.svg"] = printable(drawing.svg).encode()
        files["report.md"] = printable("\n\n".join(map(_section, page.tables.values()))).encode()
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
    rows = [row for table in page.tables.values() for row in table.rows]
    groups = {row[RECORDS] for row in rows if row.get(RECORDS)}
    contents = {path: Path(path).read_bytes().strip() for paths in groups for path in paths}
    files = {}
    for paths in groups:
        if len(paths) == 1:
            content = contents[paths[0]]
        else:
            content = b"{\n" + b",\n".join(b'"%b": %b' % (p.encode(), contents[p]) for p in paths)
            content += b"\n}"
        files[record_file(paths)] = content + b"\n"
    return files


def render_html(page: Page, drawings: Mapping[str, str], single_file: bool = False) -> str:
    """The page; `drawings` has the SVG of each figure."""
    name = "ours.html" if page.is_ours else "user.html"
    return _environment(page).get_template(name).render(svg=drawings, single_file=single_file)


def _environment(page: Page) -> jinja2.Environment:
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
    environment.filters["record_file"] = record_file
    environment.globals |= {"page": page, "words": page.words, "tables": page.tables}
    environment.globals["min_pairs"] = min_pairs()
    for file in ("style.css", "open.js", "copy.js"):
        name = file.partition(".")[0]
        environment.globals[name] = Markup((TEMPLATES / file).read_text(encoding="utf-8"))
    return environment


def fill_document(template: str, records: Records) -> str:
    """A markdown document of this repository's records."""
    text = _environment(Page(records)).get_template(template).render()
    return f"{text.strip()}\n"
