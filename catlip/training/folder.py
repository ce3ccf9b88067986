"""What a run writes into its folder, and so what a restart may delete."""

import re
from pathlib import Path

from catlip.training.distributed import THREADS

TRACE = "trace.json.gz"  # of --profile
# What a run writes, by folder. `wandb/` may be another program's too; without this file there, the
# next run is a new one.
WRITTEN = {
    ".": r"log\.jsonl|broken\.jsonl|refused\.json|score\.json|weights(-step-\d{8,})?\.safetensors|"
    rf"{re.escape(THREADS)}|{re.escape(TRACE)}|events\.out\.tfevents\..+",
    "checkpoints": r"step-\d{8,}\.pt",
    "wandb": r"wandb-resume\.json",
}
# What a killed process leaves of these, or left in earlier versions.
UNFINISHED = r"\.({names})\.[0-9a-f]+\.tmp|\.(writing|fetched)\.tmp"


def discard(folder: Path) -> None:
    """Delete what a run wrote into the folder; all other files stay."""
    for subfolder, names in WRITTEN.items():
        written = re.compile(f"{names}|{UNFINISHED.format(names=names)}")
        for path in (folder / subfolder).glob("*"):
            if written.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
                path.unlink()
