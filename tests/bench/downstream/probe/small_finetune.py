"""Fine-tuning as processes: undisturbed, and killed and gone on with. Prints how each ended, as
JSON.

python tests/bench/downstream/classify/small_finetune.py folder:DATA OUT

The processes are forked from this one, which has imported everything and computed nothing.
"""

import json
import os
import signal
import sys
import traceback
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from bench.downstream.finetune import Finetune, main
from catlip.recipes.transfer import STARTER_FINETUNE
from catlip.training.trainer import Trainer

KILLED_AT = 5  # one step after a checkpoint
RECIPE = replace(
    STARTER_FINETUNE,
    **{"resolution": 32, "min_resolution": 32, "max_resolution": 48, "num_scales": 2},
    **{"iterations": 8, "epochs": 0, "micro_batch": 4, "warmup_iterations": 2},
    **{"precision": "fp32", "layer_decay": 0.7},
)


def finetune(data: str, out: Path, killed_at: int = -1) -> int:
    """Fine-tune as the program does, in a new process; its exit code, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        if killed_at >= 0:
            die_at(killed_at)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        options: dict[str, Any] = {"num_workers": 0, "device": "cpu", "quiet": True}
        options["checkpoint_every"] = 2
        main(Finetune(RECIPE, "random:hybrid_mini@32", data, out, **options))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def die_at(step: int) -> None:
    """Let this process be killed when it begins that step."""
    original = Trainer.train_step

    def train_step(trainer: Trainer, *arguments: Any) -> Any:
        if trainer.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(trainer, *arguments)

    Trainer.train_step = train_step  # type: ignore[method-assign]


def ended(out: Path) -> dict[str, Any]:
    """What a run came to, apart from its times."""
    (weights,) = out.with_suffix("").glob("*/weights.safetensors")
    score = json.loads((weights.parent / "score.json").read_text())["score"]
    rows = json.loads(out.read_text())["samples"]["runs"]
    kept = {"score": score | {"seconds": 0}, "rows": [row | {"seconds": 0} for row in rows]}
    return kept | {"digest": sha256(weights.read_bytes()).hexdigest()}


def both_ways(data: str, folder: Path) -> dict[str, Any]:
    """How the two runs ended, and which files the kill left."""
    whole, cut = folder / "whole.json", folder / "killed.json"
    assert finetune(data, whole) == 0
    assert finetune(data, cut, killed_at=KILLED_AT) == -signal.SIGKILL
    left = [
        path.name for path in cut.with_suffix("").glob("*/*") if not path.name.startswith("events")
    ]
    assert finetune(data, cut) == 0
    return {"whole": ended(whole), "killed": ended(cut), "left": sorted(left)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    json.dump(both_ways(sys.argv[1], Path(sys.argv[2])), sys.stdout)
