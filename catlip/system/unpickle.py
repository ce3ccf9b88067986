"""Pickles from outside, read without letting them run anything.

A pickle is a program: it may import and call anything. The two pickles that this project reads, the
released vocabulary and the tagger's weights, need only containers, strings and numbers, which have
their own opcodes. Every import is refused, except those that the caller admits.
"""

import io
import pickle
import pickletools
from collections.abc import Collection
from typing import Any

from catlip.cli import InputError

BUILTINS = ("builtins", "__builtin__")  # Python 3's and Python 2's name for it


def load_plain(content: bytes, what: str, admitted: Collection[str] = ()) -> Any:
    """The value of a pickle made of plain data.

    Args:
        content: the pickle.
        what: what it should be, for the error.
        admitted: names of built-in types that it may also use, such as "set".
    Raises: InputError when it imports anything else, or is not a whole pickle.
    """

    class PlainUnpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if module in BUILTINS and name in admitted:
                return super().find_class("builtins", name)
            raise InputError(
                f"{what} is refused: its pickle wants to import {module}.{name}; a genuine one "
                "holds only plain data"
            )

    try:
        _check_memo(content)
        return PlainUnpickler(io.BytesIO(content)).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InputError(
            f"{what} is not a whole pickle of plain data ({type(error).__name__}: {error})"
        ) from None


def _check_memo(content: bytes) -> None:
    """Refuse memo slots above the pickle's length: the reader would allocate all slots below."""
    for opcode, argument, _ in pickletools.genops(content):
        if (
            opcode.name in ("PUT", "LONG_BINPUT")
            and isinstance(argument, int)
            and argument > len(content)
        ):
            raise ValueError(f"memo slot {argument} in a pickle of {len(content)} bytes")
