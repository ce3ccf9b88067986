"""Writes the report's files: one self-contained page, the same report as markdown, a CSV for each
table, a PNG and an SVG for each figure.
"""

import os
import re
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from catlip.results.figures import Rendered, for_page, render
from catlip.system.foreign import printable
from catlip.table import MOST_ROWS, as_csv, as_markdown, escape_markdown, escape_sentence
from reports.sections import Page

TEMPLATES = Path(__file__).parent / "templates"
# The page can also be read without these scripts.
SCRIPTS = ("open.js", "sort.js", "enlarge.js", "copy.js", "plan.js")


def write_report(page: Page, out: Path) -> Path:
    """Render everything in memory, then write it. `index.html` is written last, after the files
    that it links to.

    Args:
        out: a folder, made if missing; files of an earlier report that this one does not write are
            left alone.
    Returns: the page's path.
    Raises: OSError if `out` cannot be written.
    """
    drawn = {figure.name: render(figure) for figure in page.figures}
    files = {Path(f"tables/{table.name}.csv"): _bytes(as_csv(table)) for table in page.tables}
    for name, rendered in drawn.items():
        files[Path(f"figures/{name}.svg")] = _bytes(printable(rendered.svg))
        files[Path(f"figures/{name}.png")] = rendered.png
    files[Path("report.md")] = _bytes(markdown(page))
    files[Path("index.html")] = _bytes(html(page, drawn))
    for path, content in files.items():
        _replace(out / path, content)
    return out / "index.html"


def html(page: Page, drawn: dict[str, Rendered]) -> str:
    """The page as HTML, with style, scripts and figures inside."""
    inline = {name: Markup(for_page(rendered.svg, name)) for name, rendered in drawn.items()}
    environment = _environment(autoescape=True)
    environment.filters["code"] = code
    style, *scripts = (
        Markup((TEMPLATES / file).read_text(encoding="utf-8")) for file in ("style.css", *SCRIPTS)
    )
    return printable(
        environment.get_template("index.html").render(
            page=page, svg=inline, style=style, scripts=scripts, most_rows=MOST_ROWS
        )
    )


def markdown(page: Page) -> str:
    """The same report as markdown; figures are linked relative to it."""
    environment = _environment(autoescape=False)
    environment.filters |= {
        "table": as_markdown,
        "escape": escape_markdown,
        "sentence": escape_sentence,
    }
    text = printable(environment.get_template("report.md").render(page=page))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def code(words: str) -> Markup:
    """Text with its `backticked` words as code, everything else escaped."""
    parts = re.split(r"`([^`]+)`", words)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )


def _environment(autoescape: bool) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _bytes(text: str) -> bytes:
    """The text as UTF-8; a lone surrogate, which a record may hold, becomes a question mark."""
    return text.encode("utf-8", "replace")


def _replace(path: Path, content: bytes) -> None:
    """Write so that a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
