"""What a page is made of: sections of text, commands, tables and figures, rendered alike as HTML
and as markdown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from catlip.results.figures import Figure
from catlip.table import Table


@dataclass(frozen=True)
class Text:
    """A paragraph; words in backticks are code, and everything else is escaped."""

    words: str
    kind = "text"


@dataclass(frozen=True)
class Command:
    line: str
    kind = "command"


@dataclass(frozen=True)
class Figures:
    """Figures that stand side by side where there is room."""

    figures: Sequence[Figure]
    kind = "figures"


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a few words, the sentences behind it, and the records they rest on
    as (anchor, name).
    """

    question: str
    short: str
    sentences: Sequence[str]
    sources: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answers:
    answers: Sequence[Answer]
    kind = "answers"


@dataclass(frozen=True)
class RecordView:
    """A record as the page shows it; `content` is its metrics and config, if there is room."""

    anchor: str
    path: str
    command: str
    where: str
    remarks: Sequence[str]
    content: str


@dataclass(frozen=True)
class RecordGroup:
    """Records of the same root, scale, kind and method."""

    anchor: str
    title: str
    records: Sequence[RecordView]


@dataclass(frozen=True)
class RecordList:
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
    return [Figures(figures)] if figures else []
