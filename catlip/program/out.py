"""Where a program is to write: refused before any work is done, if nothing can be written there."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from catlip.program.errors import InputError


def check_out(config: Any) -> None:
    """Raises: InputError when the config's `out` has no name, is of the wrong kind, or lies where
    this user cannot write.

    Whether a file or a folder is meant is seen from its default: of a file it has a suffix.
    """
    out = getattr(config, "out", None)
    if not isinstance(out, Path) or getattr(config, "dry_run", False):
        return
    default = next(field.default for field in dataclasses.fields(config) if field.name == "out")
    example = f", say {default}" if isinstance(default, Path) else ""
    if out.name in ("", ".."):
        raise InputError(
            f"--out '{out}' has no name of its own; give the path of a new file or folder{example}"
        )
    if isinstance(default, Path) and out.exists() and out.is_dir() == bool(default.suffix):
        there, meant = ("folder", "file") if out.is_dir() else ("file", "folder")
        raise InputError(f"--out {out} is a {there}, and a {meant} is to be written{example}")
    above = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise InputError(f"--out {out} cannot be written: {above} is no folder")
    inside = out if out.is_dir() else above
    if not os.access(inside, os.W_OK | os.X_OK):
        raise InputError(f"--out {out} cannot be written: this user may not write in {inside}")
