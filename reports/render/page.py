"""Writes the report's files: one self-contained page, the same report as markdown, a CSV for each
table, a PNG and an SVG for each figure, and the records that its numbers came from.
"""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from catlip.records.figures import Rendered, render, svg_for_page
from catlip.records.table import (
    MAX_ROWS,
    MISSING,
    as_csv,
    as_markdown,
    escape_markdown,
    escape_sentence,
    records_file,
)
from catlip.system.files import write_atomically
from catlip.system.foreign import printable
from reports.render.provenance import record_files
from reports.sections import Page

TEMPLATES = Path(__file__).parent / "templates"
# The page can also be read without these scripts.
SCRIPTS = ("open.js", "copy.js", "files.js")


def write_report(page: Page, out: Path, *, single_file: bool = False) -> Path:
    """Render everything in memory, then write it. `index.html` is written last, after the files
    that it links to, or has them inside. Files of an earlier report that this one does not write
    are left alone.
    """
    drawn = {figure.name: render(figure) for figure in page.figures}
    texts = {f"tables/{table.name}.csv": as_csv(table) for table in page.tables}
    texts |= {f"figures/{name}.svg": printable(rendered.svg) for name, rendered in drawn.items()}
    records = record_files(page.records, page.anchors)
    if single_file:
        texts |= {name: content.decode("utf-8", "replace") for name, content in records.items()}
        packed = gzip.compress(json.dumps(texts).encode(), mtime=0)
        texts = {"index.html": html(page, drawn, base64.b64encode(packed).decode())}
        files: dict[str, bytes] = {}
    else:
        texts |= {"report.md": markdown(page), "index.html": html(page, drawn)}
        files = {f"figures/{name}.png": rendered.png for name, rendered in drawn.items()}
        files |= {f"figures/{picture.name}.png": picture.png for picture in page.pictures}
        files |= records
    # A lone surrogate, which the name of a file may hold, becomes a question mark.
    files |= {name: text.encode("utf-8", "replace") for name, text in texts.items()}
    for name, content in files.items():
        # A reader sees the old file or the whole new one.
        write_atomically(out / name, content, sync=False)
    return out / "index.html"


def html(page: Page, drawn: dict[str, Rendered], packed: str = "") -> str:
    """The page as HTML, with style, scripts and figures inside; `packed` has the files that it
    links to, by name: JSON, compressed by gzip, in base64.
    """
    inline = {name: Markup(svg_for_page(rendered.svg, name)) for name, rendered in drawn.items()}
    style, *scripts = (
        Markup((TEMPLATES / file).read_text(encoding="utf-8")) for file in ("style.css", *SCRIPTS)
    )
    filters: dict[str, Any] = {"code": code}
    filters["base64"] = lambda png: base64.b64encode(png).decode()
    template = _template("index.html", autoescape=True, **filters)
    return printable(
        template.render(
            page=page,
            svg=inline,
            style=style,
            scripts=scripts,
            packed=packed,
            most_rows=MAX_ROWS,
            missing=MISSING,
            records_file=records_file,
        )
    )


def markdown(page: Page) -> str:
    """The same report as markdown; figures are linked relative to it."""
    filters = {"table": as_markdown, "escape": escape_markdown, "sentence": escape_sentence}
    filters["records_file"] = records_file
    text = printable(_template("report.md", autoescape=False, **filters).render(page=page))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def code(words: str) -> Markup:
    """Text with its `backticked` words as code, everything else escaped."""
    parts = re.split(r"`([^`]+)`", words)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )


def _template(name: str, autoescape: bool, **filters: Any) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters
    return environment.get_template(name)
