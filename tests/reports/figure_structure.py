"""What a figure is made of, apart from where and how it is drawn.

python tests/reports/figure_structure.py FOLDER
"""

import re
import sys
from collections import Counter
from pathlib import Path


def structure(svg: str) -> str:
    """How many parts of each kind an SVG of matplotlib's has, and its words in their order."""
    kinds = Counter(re.findall(r'<g id="([A-Za-z0-9]*[A-Za-z])_\d+">', svg))
    words = re.findall(r"<text[^>]*>(.*?)</text>", svg, re.DOTALL)
    return (
        f"{', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}: "
        f"{' | '.join(words)}"
    )


def structures(folder: Path) -> str:
    """A line a figure."""
    return "".join(
        f"{path.stem}: {structure(path.read_text())}\n" for path in sorted(folder.glob("*.svg"))
    )


if __name__ == "__main__":
    print(structures(Path(sys.argv[1])), end="")
