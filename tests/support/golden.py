"""Expected texts in files: `WRITE_GOLDEN=1 pytest FILE` writes them again, to be read in a diff."""

import os
from pathlib import Path


def expect(path: Path, text: str) -> None:
    """That a file has this text."""
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), "meant? WRITE_GOLDEN=1 writes it"
