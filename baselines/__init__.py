"""The methods that CatLIP is compared with, on the same batches, loop and recipes."""

import os
import re
import sys
from pathlib import Path

import catlip  # noqa: F401  # sets how OpenMP waits, which must come before torch

# Folders of further methods; their files become modules of this package.
for _folder in filter(None, os.environ.get("CATLIP_METHODS", "").split(os.pathsep)):
    if not os.path.isdir(_folder):
        print(f"error: CATLIP_METHODS names {_folder!r}, which is not a folder", file=sys.stderr)
        sys.exit(2)
    __path__.append(_folder)


def method_names() -> dict[str, str]:
    """The name of every method, with the module that has it, read from the sources: a command line
    is read without torch.
    """
    stated = re.compile(r'^    name\b.* = "(\w+)"', re.MULTILINE)
    return {
        name: f"baselines.{file.stem}"
        for folder in __path__
        for file in sorted(Path(folder).glob("*.py"))
        for name in stated.findall(file.read_text())
    }
