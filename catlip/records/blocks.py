"""What a page is made of: sections of text, commands, tables and figures, rendered alike as HTML
and as markdown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from catlip.records.figures import Figure
from catlip.records.table import Table


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
    """Figures side by side where there is room; with a `caption`, the panels of one figure."""

    figures: Sequence[Figure]
    caption: str = ""
    kind = "figures"


@dataclass(frozen=True)
class Answer:
    """A question, its short answer, the sentences behind it, and records as (anchor, name)."""

    question: str
    short: str
    sentences: Sequence[str]
    sources: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answers:
    answers: Sequence[Answer]
    kind = "answers"


@dataclass(frozen=True)
class Picture:
    """A picture as PNG, and the words below it: a line, and one in small type."""

    name: str  # of its file
    png: bytes
    words: str
    small: str = ""


@dataclass(frozen=True)
class Pictures:
    """Rows of pictures, each with its title; beside each other where there is room."""

    rows: Sequence[tuple[str, Sequence[Picture]]]
    caption: str
    kind = "pictures"


@dataclass(frozen=True)
class Chip:
    """A verdict in a few words. `outcome` is one of those in `catlip.records.estimate`."""

    words: str
    outcome: str
    anchor: str = ""


@dataclass(frozen=True)
class Chips:
    """Groups of verdicts, each with its title."""

    groups: Sequence[tuple[str, Sequence[Chip]]]
    kind = "chips"


@dataclass(frozen=True)
class Points:
    """A title, and a few sentences as a list."""

    title: str
    sentences: Sequence[str]
    kind = "points"


Block = Text | Command | Figures | Answers | Pictures | Chips | Points | Table


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    anchor: str
    title: str
    blocks: Sequence[Block]


def command_to_fill(words: str, command: str) -> list[Block]:
    """Blocks that say what has not been run, and give the command that would fill the section."""
    return [Text(f"{words} This fills the section:"), Command(command)]


def side_by_side(figures: Sequence[Figure], caption: str = "") -> list[Block]:
    return [Figures(figures, caption)] if figures else []
