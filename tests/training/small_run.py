"""A small run of the real loop on real shards, in the ways that tests ask for: stopped, killed,
poisoned, on one rank or two.

torchrun --nproc-per-node 2 tests/training/small_run.py --shards FOLDER --out FOLDER --parallel fsdp
"""

import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from catlip.cli import run
from catlip.data.augment import Augmentation
from catlip.data.loader import Batch, DataPath
from catlip.data.sampler import ImageSize, SampleOrder, StepPlan, lanes_of
from catlip.data.shards import expand, open_shard
from catlip.objective import Objective
from catlip.training.distributed import Rank, choose_deterministic, init_distributed
from catlip.training.loop import train
from catlip.training.schedule import Optimization
from catlip.training.trainer import Implementation, Trainer

SIZES = [ImageSize(16, 6), ImageSize(24, 4)]
SAME = ("step", "images_seen", "loss", "grad_norm", "learning_rate", "scale")
"""These columns of the log are the same in every way to run."""


@dataclass(frozen=True)
class SmallRun:
    """How to run."""

    shards: Path
    out: Path
    parallel: Literal["ddp", "fsdp"] = "ddp"
    replicas: int = 2
    """Micro-batches of a step, over ranks and accumulation."""
    num_workers: int = 0
    num_steps: int = 20
    checkpoint_every: int = 1
    stops: tuple[int, ...] = ()
    """Stop at each of these steps, go on, and compare with a run that is not stopped."""
    fault: str = ""
    """KIND:RANK:STEP: when that rank asks for that step's batch, its pixels are nan or inf, its
    disk is full, it dies once, it is late by two seconds, or it gets a signal such as SIGTERM; or
    the rank is slow, and then each of its forward passes takes 0.1 seconds more."""
    deterministic: bool = False
    step_s: float = 0.0
    """Seconds by which each step is longer, so that there is time to signal it from outside."""
    wandb: str = ""


class Small(Objective):
    """Batch norm, dropped paths, blocks, and a parameter without a dimension."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(3, 16)
        self.norm = nn.BatchNorm1d(16)
        self.blocks = nn.ModuleList(Block(16, 2, drop_path=0.4, attn_drop=0.1) for _ in range(2))
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.head = nn.Linear(16, 3)

    def forward(self, batch: Batch) -> Tensor:
        # An infinity is in the loss, but not in its gradient.
        infinite = torch.where(batch.images.isinf().any(), torch.inf, 0.0)
        finite = batch.images.float().nan_to_num(torch.nan, posinf=0.0) / 255
        pixels = F.adaptive_avg_pool2d(finite, 4).flatten(2)
        tokens = self.norm(self.stem(pixels.transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        error = (self.head(tokens.mean(dim=1)) * self.scale - pixels.mean(dim=2)).square()
        return error.mean() + infinite

    def metrics(self) -> dict[str, Tensor]:
        return {"scale": self.scale}


class StoppedError(Exception):
    """The run was stopped on purpose."""


def small_run(config: SmallRun, rank: Rank, stop: int | None = None) -> list[dict[str, float]]:
    """Train from where the folder is; StoppedError when the batch of step `stop` is asked for."""
    shards = [open_shard(path) for path in expand(str(config.shards))]
    accumulation = config.replicas // rank.world_size
    order = SampleOrder([len(shard) for shard in shards], 0, lanes_of(config.replicas))
    plan = StepPlan(SIZES, config.replicas, config.num_steps, seed=0)
    data = DataPath(
        shards,
        order,
        plan,
        augmentation=Augmentation(),
        seed=0,
        accumulation=accumulation,
        rank=rank.number,
        world_size=rank.world_size,
    )
    recipe = Optimization(max_lr=1e-2, warmup_iterations=3, ema_decay=0.8, precision="fp32")
    trainer = Trainer(
        Small(),
        recipe,
        config.num_steps,
        rank=rank,
        accumulation=accumulation,
        implementation=Implementation(config.parallel),
    )

    if config.fault.startswith(f"slow:{rank.number}:"):
        trainer.objective.stem.register_forward_hook(lambda *_: time.sleep(0.1))

    def batches(first: int) -> Iterator[Batch]:
        for number, batch in enumerate(data.batches(first, config.num_workers)):
            step = first + number // accumulation
            if step == stop:
                raise StoppedError
            time.sleep(config.step_s)
            yield _with_faults(config, batch, f"{rank.number}:{step}")

    identity = {"seed": 0, "num_steps": config.num_steps}
    return train(
        trainer,
        batches,
        config.out,
        config=identity,
        log_every=5,
        checkpoint_every=config.checkpoint_every,
        quiet=True,
        wandb=config.wandb,
    )


def _with_faults(config: SmallRun, batch: Batch, now: str) -> Batch:
    kind, _, when = config.fault.partition(":")
    if now != when:
        return batch
    if kind == "dies" and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[kind])
    if kind == "late":
        time.sleep(2)
    if kind == "full":  # a limit on file size fails a write half-way, as a full disk does
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    if kind in ("nan", "inf"):
        print(f"poisoned: {config.fault}", file=sys.stderr)
        return replace(batch, images=torch.full(batch.images.shape, float(kind)))
    return batch


def outcome(out: Path) -> dict[str, Any]:
    """What must be the same however a run came to its end: its log and its weights, bit for bit."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    weights = sha256((out / "weights.safetensors").read_bytes()).hexdigest()
    return {"log": [{name: line[name] for name in SAME} for line in lines], "weights": weights}


def stopped_everywhere(config: SmallRun, rank: Rank) -> dict[str, Any]:
    """Stop at each step and go on; the steps after which the outcome was another one."""
    small_run(replace(config, out=config.out / "whole"), rank)
    for step in config.stops:
        cut = replace(config, out=config.out / str(step))
        with contextlib.suppress(StoppedError):
            small_run(cut, rank, stop=step)
        assert not (cut.out / "weights.safetensors").exists(), "it was not stopped"
        small_run(cut, rank)
    whole = outcome(config.out / "whole")
    wrong = [step for step in config.stops if outcome(config.out / str(step)) != whole]
    return {"stopped": len(config.stops), "wrong": wrong}


def main(config: SmallRun) -> None:
    """Run as this rank, and print as JSON how it ended."""
    torch.set_num_threads(1)
    if config.deterministic:
        choose_deterministic()
    rank = init_distributed("cpu")
    if config.stops:
        ended = stopped_everywhere(config, rank)
    else:
        small_run(config, rank)
        ended = outcome(config.out) if rank.is_main else {}
    if rank.is_main:
        json.dump(ended, sys.stdout)


if __name__ == "__main__":
    run(SmallRun, main)
