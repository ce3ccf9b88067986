"""What a page is made of: sections of text, commands, tables and figures, rendered alike as HTML
and as markdown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from catlip.table import Table
from reports.render.figures import Figure
from reports.render.provenance import RecordGroup
from reports.summary.answers import Answer


@dataclass(frozen=True)
class Text:
    """A paragraph; words in backticks are code, and everything else is escaped."""

    words: str
    kind = "text"


@dataclass(frozen=True)
class Command:
    """A command for the reader to type."""

    line: str
    kind = "command"


@dataclass(frozen=True)
class Figures:
    """Figures that stand side by side where there is room."""

    figures: Sequence[Figure]
    kind = "figures"


@dataclass(frozen=True)
class Answers:
    """The three questions with their answers."""

    answers: Sequence[Answer]
    kind = "answers"


@dataclass(frozen=True)
class RecordList:
    """All records in groups, shown inside the page."""

    groups: Sequence[RecordGroup]
    kind = "records"


Block = Text | Command | Figures | Answers | RecordList | Table


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    anchor: str
    title: str
    blocks: Sequence[Block]


def to_fill(words: str, command: str) -> list[Block]:
    """Blocks that say what has not been run, and give the command that would fill the section."""
    return [Text(f"{words} This fills the section:"), Command(command)]


def side_by_side(figures: Sequence[Figure]) -> list[Block]:
    """The figures as one block; an empty list if there are none."""
    return [Figures(figures)] if figures else []
