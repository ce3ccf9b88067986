"""Which column of a table holds the captions, and what a row without a caption is."""

from collections.abc import Sequence
from dataclasses import dataclass

from catlip.cli import InputError

TEXT_COLUMNS = ("caption", "text", "TEXT", "texts")  # tried when no column is named
SHOWN_COLUMNS, SHOWN_CHARACTERS = 20, 40


@dataclass(frozen=True)
class Unusable:
    """Stands for the caption of a row that has no readable caption.

    Attributes:
        cause: why, in a fixed phrase, so that rows with the same cause can be counted.
    """

    cause: str


Caption = str | Unusable | None  # None: the row's place for a caption is empty


def choose_column(
    where: str, columns: Sequence[str], text_column: str | None, hint: str = ""
) -> str:
    """`text_column`, or the first of `TEXT_COLUMNS` that is among `columns`.

    Raises: InputError that says `where`, lists the columns that are there, and gives `hint`.
    """
    wanted = TEXT_COLUMNS if text_column is None else (text_column,)
    for name in wanted:
        if name in columns:
            return name
    shown = [
        name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}..."
        for name in columns[:SHOWN_COLUMNS]
    ]
    more = f" and {len(columns) - SHOWN_COLUMNS} more" if len(columns) > SHOWN_COLUMNS else ""
    there = f"{', '.join(shown) or 'none'}{more}"
    raise InputError(
        f"{where} has no column {' or '.join(wanted)}; there are: {there}; give --text-column{hint}"
    )
