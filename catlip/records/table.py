"""A table as data: what it answers, its columns, and a function that gives its rows. Program, page
and documents show the same one: as text, HTML, markdown and CSV.

A row is a dictionary, and the type of a value says how it is shown: a number, an interval below its
value, percentiles below a median, a mean with its spread. A missing value is an en dash, a NaN is
shown as NaN.
"""

import csv
import io
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from catlip.records.kind import Interval, Kind, Summary
from catlip.system.foreign import printable

MISSING = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
MAX_DECIMALS = 6
MAX_ROWS = 500  # of a table that is shown; its CSV has all
MAX_NAMES = 12  # in a line
RECORDS, NOTE = "record_paths", "note"  # keys of a row: the paths of its records, and a footnote
# The characters that a formula of a spreadsheet begins with.
FORMULA = tuple("=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH COMMERCIAL AT}")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Quantity:
    """A mean over `n` runs, with their sample standard deviation (None for one run)."""

    mean: float
    spread: float | None
    n: int


@dataclass(frozen=True)
class Share:
    """A count, and the fraction of a whole that it is."""

    count: float
    whole: float


@dataclass(frozen=True)
class Column:
    """A column, and the key of its values in a row. Numbers are multiplied by `factor` and have
    `digits` after the point, or three significant ones; `plus`: with their sign. A `head` says what
    was measured: without `digits`, its numbers do not end in zeros after the point, and a value is
    left out where it and those before it are the same as in the row above.
    """

    title: str
    key: str
    digits: int | None = None
    factor: float = 1.0
    plus: bool = False
    unit: str = ""
    head: bool = False


@dataclass(frozen=True)
class Cell:
    """A line of text and one in small type; the numbers behind them, by what each is."""

    text: str = MISSING
    small: str = ""
    numbers: Mapping[str, float | None] | None = None

    @property
    def full(self) -> str:
        return f"{self.text} ({self.small})" if self.small else self.text


@dataclass(frozen=True)
class Table:
    """A table with its rows; `about` says in a sentence or two what it answers."""

    name: str
    title: str
    about: str
    all_columns: Sequence[Column]
    rows: Sequence[Row]

    @cached_property
    def shared(self) -> dict[str, str]:
        """Title -> value of the heads that are the same in all of several rows; these are said
        once, above the table.
        """
        found: dict[str, str] = {}
        for column in self.all_columns:
            values = {str(row.get(column.key)): row.get(column.key) for row in self.rows}
            if column.head and len(values) == 1 < len(self.rows) and None not in values.values():
                found[column.title] = cell_of(self.rows[0][column.key], column).full
        return found

    @cached_property
    def filled(self) -> list[Column]:
        """The columns that some row has a value for."""
        rows = self.rows
        return [c for c in self.all_columns if any(row.get(c.key) is not None for row in rows)]

    @cached_property
    def columns(self) -> list[Column]:
        return [column for column in self.filled if column.title not in self.shared]

    @cached_property
    def notes(self) -> list[str]:
        """The footnotes, each once."""
        return list(dict.fromkeys(row[NOTE] for row in self.rows if row.get(NOTE)))

    def mark(self, row: Row) -> str:
        """The number of a row's footnote, or nothing."""
        return str(self.notes.index(row[NOTE]) + 1) if row.get(NOTE) else ""

    def lines(self) -> list[tuple[Row, list[Cell]]]:
        """The rows that are shown, with a cell for each column."""
        found: list[tuple[Row, list[Cell]]] = []
        before: list[Any] = []
        for row in self.rows[:MAX_ROWS]:
            cells = [cell_of(row.get(column.key), column) for column in self.columns]
            heads = [row.get(column.key) for column in self.columns if column.head]
            for i, (now, above) in enumerate(zip(heads, before, strict=False)):
                if now != above:
                    break
                cells[i] = Cell("")
            found.append((row, cells))
            before = heads
        return found


@dataclass(frozen=True)
class Spec:
    """A table without its rows.

    Attributes:
        columns: or a function that gives those of some rows.
        rows: the rows of some records.
        command: what would fill it.
        kinds: of which the records are; a table without kinds takes all comparisons of the page.
    """

    name: str
    title: str
    about: str
    columns: Sequence[Column] | Callable[[Sequence[Row]], Sequence[Column]]
    rows: Callable[[Any], Iterable[Row]]
    command: str = ""
    kinds: Sequence[type[Kind]] = ()

    def fill(self, records: Any) -> Table:
        rows = [*self.rows(records)]
        columns = self.columns(rows) if callable(self.columns) else self.columns
        return Table(self.name, self.title, self.about, columns, rows)


def cell_of(value: Any, column: Column) -> Cell:
    """How a value is shown; a pair is a value with its line in small type."""

    def number(value: float, plus: bool = False) -> str:
        show = signed if plus else format_number
        text = show(column.factor * value, column.digits)
        if column.head and column.digits is None and "." in text:
            text = text.rstrip("0").rstrip(".")
        return f"{text}{column.unit}"

    def scaled(**values: float | None) -> dict[str, float | None]:
        """As the column's title has it; `main` is the number without a name."""
        return {
            name.removeprefix("main"): value if value is None else column.factor * value
            for name, value in values.items()
        }

    match value:
        case None:
            return Cell()
        case str():
            return Cell(value)
        case (main, str() as small):
            cell = cell_of(main, column)
            return Cell(cell.text, small, cell.numbers)
        case Quantity(mean, spread, n):
            digits = decimals_of(column.factor * mean) if column.digits is None else column.digits
            text = format_number(column.factor * mean, digits)
            if spread is not None:
                text += f" ± {format_number(column.factor * spread, digits)}"
            return Cell(text, f"n = {n}", scaled(main=mean, spread=spread) | {"n": n})
        case Share(count, whole):
            part = count / whole if whole else math.nan
            small = f"{format_number(100 * part, 1)} %" if math.isfinite(part) else ""
            return Cell(number(count), small, scaled(main=count, of=whole))
        case Summary(median, low, high):
            numbers = scaled(main=median, p5=low, p95=high)
            return Cell(number(median), _ends(number, low, high), numbers)
        case Interval(main, low, high):
            small = _ends(lambda end: number(end).removesuffix(column.unit), low, high)
            numbers = scaled(main=main, low=low, high=high)
            return Cell(number(main, column.plus), small, numbers)
        case bool():
            return Cell("yes" if value else "no")
        case int() | float():
            return Cell(number(value, column.plus), numbers=scaled(main=value))
    ends = (None, None) if value.is_count and not value.pairs else (value.low, value.high)
    return cell_of(Interval(value.value, *ends), column)  # an Estimate


def _ends(number: Callable[[float], str], low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


# --- As text, markdown and CSV (HTML is the template's) -------------------------------------------


def as_text(table: Table) -> str:
    """The table in aligned columns, for a terminal, with its footnotes below."""
    grid = [[column.title for column in table.columns]]
    for row, cells in table.lines():
        grid.append([cell.full for cell in cells])
        if mark := table.mark(row):
            grid[-1][0] += f" [{mark}]"
    widths = [max(map(len, words)) for words in zip(*grid, strict=True)]
    grid.insert(1, ["-" * width for width in widths])
    lines = [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in grid
    ]
    lines += [f"[{i}] {note}" for i, note in enumerate(table.notes, 1)]
    if len(table.rows) > MAX_ROWS:
        lines.append(f"The first {MAX_ROWS} of {len(table.rows):,} rows.")
    return printable("\n".join(lines))


def print_tables(tables: Iterable[Table]) -> None:
    for table in tables:
        if table.rows:
            shared = [f"{title}: {value}" for title, value in table.shared.items()]
            head = "\n".join([table.title, *shared])
            print(f"{printable(head)}\n{as_text(table)}\n")


def as_markdown(table: Table) -> str:
    """The table as GitHub's markdown, below what all its rows share and above its footnotes."""
    rows = []
    for row, cells in table.lines():
        rows.append([escape_markdown(cell.full) for cell in cells])
        if mark := table.mark(row):
            rows[-1][0] += f" <sup>{mark}</sup>"
    titles = [escape_markdown(column.title) for column in table.columns]
    grid = [titles, ["---"] * len(titles), *rows]
    lines = [f"| {' | '.join(cells)} |" for cells in grid]
    shared = [escape_markdown(f"{title}: {value}.") for title, value in table.shared.items()]
    notes = [f"{i}. {escape_markdown(note)}" for i, note in enumerate(table.notes, 1)]
    parts = [" ".join(shared), "\n".join(lines), "\n".join(notes)]
    return "\n\n".join(filter(None, parts))


def as_csv(table: Table) -> str:
    """The table as CSV: every number in a column of its own, the footnotes in the last, and no cell
    that could run as a formula.
    """
    cells = [[cell_of(row.get(c.key), c) for c in table.filled] for row in table.rows]
    heads = [
        list(dict.fromkeys(name for row in cells for name in row[i].numbers or {"": 0}))
        for i in range(len(table.filled))
    ]
    body = io.StringIO()
    writer = csv.writer(body, lineterminator="\n")
    titles = [
        inert(", ".join(filter(None, (column.title, name))))
        for column, names in zip(table.filled, heads, strict=True)
        for name in names
    ]
    writer.writerow(titles + ["Note"] * bool(table.notes))
    for shown, row in zip(table.rows, cells, strict=True):
        values = list[str]()
        for cell, names in zip(row, heads, strict=True):
            numbers = cell.numbers or {}
            values += ["" if n is None else f"{n:.6g}" for n in map(numbers.get, names)]
            if not cell.numbers and cell.text != MISSING:
                values[-len(names)] = cell.full
        values += [shown.get(NOTE) or ""] * bool(table.notes)
        writer.writerow(map(inert, values))
    return body.getvalue()


def inert(words: str) -> str:
    """A cell as text on one line, with a quote before what a spreadsheet would run as a formula."""
    line = " ".join(printable(words).splitlines()).replace("\t", " ")
    if not line.lstrip().startswith(FORMULA):
        return line
    try:
        float(line)
    except ValueError:
        return f"'{line}"
    return line


def escape_markdown(words: str) -> str:
    """Text from a file as one line of markdown that starts no tag, cell, link or emphasis."""
    for mark in "\\|<>[]*_`":
        words = words.replace(mark, "\\" + mark)
    return printable(" ".join(words.split()))


# --- Numbers and names ----------------------------------------------------------------------------


def format_number(value: float | None, decimals: int | None = None) -> str:
    """A number for readers, with `decimals` places, or else with three significant digits."""
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


def signed(value: float, decimals: int | None = None) -> str:
    """A difference for readers: as `format_number`, with a plus sign if it is above zero."""
    return f"{'+' if value > 0 else ''}{format_number(value, decimals)}"


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


def clipped(words: object, most: int = 60) -> str:
    """Words from a record on one line of at most `most` printable characters, or a dash."""
    line = " ".join(words[: 4 * most].split()) if isinstance(words, str) else ""
    line = "".join(filter(str.isprintable, line))  # others may reverse text or break a page
    if len(line) > most:
        return f"{line[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
    return line or MISSING


def listed(names: Sequence[str], most: int = MAX_NAMES) -> str:
    """Names from files on one line: the first `most`, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(clipped(name) for name in names[:most]) + more
