"""A table as data, and the same table as markdown, CSV and plain text (HTML is the template's).

A `Cell` says what is shown, where the number came from and what a reader must know beside it; a
`Table` numbers the remarks of its cells as footnotes. A missing value is an en dash, a NaN is shown
as NaN.
"""

import csv
import io
import math
import re
import statistics
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

from catlip.system.foreign import printable

MISSING = "\N{EN DASH}"
MAX_DECIMALS = 6
MAX_NAME = 180  # characters of a file's name
MAX_ROWS = 500  # of a table that is shown; its CSV has all
# The characters that a formula of a spreadsheet begins with.
FORMULA = tuple("=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH COMMERCIAL AT}")


@dataclass(frozen=True)
class Quantity:
    """A mean over `n` runs, with their sample standard deviation (None for one run)."""

    mean: float
    spread: float | None
    n: int


@dataclass(frozen=True)
class Cell:
    """One cell of a table: a line of text and one in small type."""

    text: str = MISSING
    small: str = ""
    anchor: str = ""  # of its record in the page
    quantity: Quantity | None = None  # what the text shows, for the CSV
    differs: bool = False  # marked as differing from the paper
    remarks: tuple[str, ...] = ()  # what a reader must know beside it; they become footnotes

    @property
    def full(self) -> str:
        return f"{self.text} ({self.small})" if self.small else self.text


@dataclass(frozen=True)
class Table:
    """A table; `name` is the file stem of its CSV, and a row of one cell is a heading. The page
    shows a folded one on demand, and one `as_list` as a list, to be read on a phone.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    folded: bool = False
    as_list: bool = False
    kind: str = field(default="table", init=False)

    @cached_property
    def footnotes(self) -> list[str]:
        """The remarks of all cells, each once, in the order of the cells."""
        cells = chain.from_iterable(self.rows[:MAX_ROWS])
        return list(dict.fromkeys(remark for cell in cells for remark in cell.remarks))

    def marks(self, cell: Cell) -> list[int]:
        return [self.footnotes.index(remark) + 1 for remark in cell.remarks]


def format_number(value: float | None, decimals: int | None = None) -> str:
    """A number for readers, with `decimals` places or three significant digits."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    if decimals is None:
        decimals = decimals_of(value)
    if decimals > MAX_DECIMALS:
        return f"{value:.2e}"
    if decimals < 0:
        value, decimals = round(value, decimals), 0
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def from_to(
    values: Iterable[float], decimals: int = 1, show: Callable[..., str] = format_number
) -> str:
    """`1.2 to 1.5`, the least and the most, or one number if both are shown alike."""
    ends = sorted(values)
    return " to ".join(dict.fromkeys(show(end, decimals) for end in (ends[0], ends[-1])))


def signed(value: float, decimals: int | None = None) -> str:
    """A difference for readers: as `format_number`, with a plus sign if it is above zero."""
    return f"{'+' if value > 0 else ''}{format_number(value, decimals)}"


def sign_of(value: float, decimals: int = 1) -> int:
    """The sign of a difference as it is shown, rounded: 1, 0 or -1; 0 for a NaN."""
    rounded = round(value, decimals) if math.isfinite(value) else value
    return (rounded > 0) - (rounded < 0)


def clipped(words: object, most: int = 60) -> str:
    """Words from a record on one line of at most `most` printable characters, or a dash."""
    line = " ".join(words[: 4 * most].split()) if isinstance(words, str) else ""
    line = "".join(filter(str.isprintable, line))  # others may reverse text or break a page
    if len(line) > most:
        return f"{line[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
    return line or MISSING


def share_cell(count: float | None, whole: float | None, anchor: str = "") -> Cell:
    """A count with its fraction of the whole, in per cent, below it."""
    percentage = ""
    if count is not None and whole and math.isfinite(count / whole):
        percentage = f"{format_number(100 * count / whole, 1)} %"
    return number_cell(count, 0, anchor, small=percentage)


def decimals_of(value: float) -> int:
    """How many decimals show three significant digits of `value`; below 0 from 1,000 on."""
    if not math.isfinite(value) or value == 0:
        return 0
    return 2 - math.floor(math.log10(abs(value)))


def quantity_of(values: Iterable[float | None]) -> Quantity | None:
    """Mean, sample standard deviation and n of the values that are not None."""
    kept = [value for value in values if value is not None]
    if not kept:
        return None
    if not all(map(math.isfinite, kept)):
        return Quantity(math.nan, None, len(kept))
    spread = statistics.stdev(kept) if len(kept) > 1 else None
    return Quantity(statistics.fmean(kept), spread, len(kept))


def quantity_cell(quantity: Quantity | None, decimals: int | None = None, anchor: str = "") -> Cell:
    """`mean ± spread` with n below, linked to its records; a dash if nothing was measured."""
    if quantity is None:
        return Cell()
    return Cell(mean_and_spread(quantity, decimals), f"n = {quantity.n}", anchor, quantity=quantity)


def mean_and_spread(quantity: Quantity, decimals: int | None = None) -> str:
    """`26.6 ± 0.2`, both with the same decimals; the mean alone for a single run."""
    if decimals is None:
        decimals = decimals_of(quantity.mean)
    spread = f" ± {format_number(quantity.spread, decimals)}" if quantity.spread is not None else ""
    return format_number(quantity.mean, decimals) + spread


def number_cell(
    value: float | None, decimals: int | None = None, anchor: str = "", small: str = ""
) -> Cell:
    """A single number, or a dash without link where it is missing."""
    return Cell() if value is None else Cell(format_number(value, decimals), small, anchor)


def markdown_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in GitHub's markdown."""
    grid = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cells)} |" for cells in grid]


def as_markdown(table: Table) -> str:
    """The table as GitHub's markdown, with its title, links to anchors, footnotes and caption."""
    first = table.rows[:MAX_ROWS]
    rows = []
    for row in first:
        cells = []
        for cell in row:
            text = escape_markdown(cell.text)
            text = f"[{text}]({records_file(cell.anchor)})" if cell.anchor else text
            text = f"**{text}** ≠" if cell.differs else text
            small = f" ({escape_markdown(cell.small)})" if cell.small else ""
            marks = ", ".join(map(str, table.marks(cell)))
            cells.append(f"{text}{small}{f' <sup>{marks}</sup>' if marks else ''}")
        rows.append(_padded(cells, len(table.columns)))
    lines = [f"**{escape_markdown(table.title)}**", ""]
    lines += markdown_rows([*map(escape_markdown, table.columns)], rows)
    if len(table.rows) > len(first):
        csv_file = f"[all of them as CSV](tables/{table.name}.csv)"
        lines += ["", f"The first {len(first)} of {len(table.rows):,} rows; {csv_file}."]
    notes = [f"{i}. {escape_sentence(note)}" for i, note in enumerate(table.footnotes, 1)]
    parts = ["\n".join(lines), "\n".join(notes), escape_sentence(table.caption)]
    return "\n\n".join(part for part in parts if part)


def records_file(anchor: str) -> str:
    """The file, beside the page, with the records that an anchor stands for."""
    if len(anchor) > MAX_NAME:
        anchor = f"{anchor[:MAX_NAME]}-{zlib.crc32(anchor.encode()):08x}"
    return f"records/{anchor}.json"


def as_csv(table: Table) -> str:
    """The table as CSV: a quantity in three columns, and no cell that could run as a formula."""
    head: list[str] = []
    split = []
    for i, column in enumerate(table.columns):
        split.append(any(len(row) > i and row[i].quantity for row in table.rows))
        head += [column, f"{column}, spread", f"{column}, n"] if split[-1] else [column]
    body = io.StringIO()
    writer = csv.writer(body, lineterminator="\n")
    writer.writerow(map(_inert, [*head, "remarks"]))
    for row in table.rows:
        values: list[str] = []
        for cell, is_split in zip(row, split, strict=False):
            if not is_split:
                values.append(cell.full.rstrip())
            elif cell.quantity is None:
                values += [cell.text, "", ""]
            else:
                mean, spread, n = cell.quantity.mean, cell.quantity.spread, cell.quantity.n
                values += [f"{mean:.6g}", "" if spread is None else f"{spread:.6g}", str(n)]
        remarks = dict.fromkeys(remark for cell in row for remark in cell.remarks)
        writer.writerow(map(_inert, [*_padded(values, len(head)), " ".join(remarks)]))
    return body.getvalue()


def as_text(table: Table) -> str:
    """The table in aligned columns, for a terminal, with its footnotes below."""
    grid = [list(table.columns)]
    for row in table.rows[:MAX_ROWS]:
        cells = [cell.full + "".join(f" [{i}]" for i in table.marks(cell)) for cell in row]
        grid.append(_padded(cells, len(table.columns)))
    widths = [max(len(row[i]) for row in grid) for i in range(len(table.columns))]
    grid.insert(1, ["-" * width for width in widths])
    lines = [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in grid
    ]
    lines += [f"[{i}] {note}" for i, note in enumerate(table.footnotes, 1)]
    if len(table.rows) > MAX_ROWS:
        lines.append(f"The first {MAX_ROWS} of {len(table.rows):,} rows.")
    return printable("\n".join(lines))


def print_tables(tables: Iterable[Table]) -> None:
    for table in tables:
        print(f"{printable(table.title)}\n{as_text(table)}\n")


def escape_markdown(words: str) -> str:
    """Text from a file as one line of markdown that starts no tag, cell, link or emphasis."""
    for mark in "\\|<>[]*_`":
        words = words.replace(mark, "\\" + mark)
    return printable(" ".join(words.split()))


def escape_sentence(words: str) -> str:
    """A sentence, which may hold a record's words, as markdown; `backticked` words stay code."""
    escaped = ""
    for i, part in enumerate(re.split(r"`([^`]+)`", words)):
        if i % 2:
            escaped += f"`{' '.join(part.split())}`"
        else:  # with the spaces between it and the code before and after it
            before, after = part[:1].isspace(), part[-1:].isspace() and bool(part.strip())
            escaped += f"{' ' * before}{escape_markdown(part)}{' ' * after}"
    return escaped


def _inert(words: str) -> str:
    """A cell as text on one line, with a quote before what a spreadsheet would run as a formula."""
    line = " ".join(printable(words).splitlines()).replace("\t", " ")
    if not line.lstrip().startswith(FORMULA):
        return line
    try:
        float(line)
    except ValueError:
        return f"'{line}"
    return line


def _padded(words: list[str], width: int) -> list[str]:
    return words + [""] * (width - len(words))


MAX_NAMES = 12  # in a line


def listed(names: Sequence[str], most: int = MAX_NAMES) -> str:
    """Names from files on one line: the first `most`, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(clipped(name) for name in names[:most]) + more


def paper_name(name: str) -> str:
    """The paper's name of a table or figure: `table_6a` -> `Table 6(a)`."""
    kind, _, number = name.partition("_")
    letter = number.lstrip("0123456789")
    return f"{kind.capitalize()} {number.removesuffix(letter)}{f'({letter})' if letter else ''}"
