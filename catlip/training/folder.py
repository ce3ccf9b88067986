"""What a run writes into its folder, and so what a restart may delete."""

import re
from pathlib import Path

from catlip.system.files import remove_written
from catlip.training.distributed import THREADS

TRACE = "trace.json.gz"  # of --profile
# `wandb/` may be another program's too; without this file there, the next run is a new one. Earlier
# versions left `.writing.tmp` and `.fetched.tmp`.
WRITTEN = (
    r"log\.jsonl|broken\.jsonl|refused\.json|score\.json|weights(-step-\d{8,})?\.safetensors|"
    rf"{re.escape(THREADS)}|{re.escape(TRACE)}|events\.out\.tfevents\..+|"
    r"checkpoints/step-\d{8,}\.pt|wandb/wandb-resume\.json|(.*/)?\.(writing|fetched)\.tmp"
)


def discard(folder: Path) -> None:
    """Delete what a run wrote into the folder; all other files stay."""
    remove_written(folder, WRITTEN)
