from dataclasses import dataclass
from pathlib import Path

from catlip.program.ranges import Count, Natural


@dataclass(frozen=True)
class DataPathBench:
    """Count the images per second of one core: decoding with a random resized crop, and the whole
    loader.

    python -m bench.data_path
    python -m bench.data_path --images /data/photographs
    """

    images: Path | None = None
    """Folder of JPEG photographs; by default those that this project ships."""
    num_images: Count = 128
    """Number of photographs: the first ones, or all again and again."""
    resolution: Count = 224
    """Side of the crops in pixels."""
    rounds: Count = 9
    """Rounds over all photographs; each takes every decoder in turn. Loaders have at most three."""
    workers: tuple[Natural, ...] = (0, 1, 2)
    """Numbers of worker processes of the loaders; with 0, the main process decodes."""
    out: Path = Path("runs/bench/data_path")
    """Folder for the record, named by resolution and photographs."""
    quiet: bool = False
    """No progress bar."""
