"""The log of a run, a line every few steps: `log.jsonl`, TensorBoard, and wandb if asked for.

A run that goes on from a checkpoint, which holds the lines up to its step, drops the
lines of later steps: its log equals the log of an uninterrupted run.
"""

import itertools
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from catlip.cli import InputError
from catlip.program.broken import BrokenImage, BrokenLog
from catlip.records.record import naming
from catlip.system.files import write_atomically
from catlip.training.distributed import Rank, all_gather_objects, peak_gib

LATE = 0.02  # of the time: no rank is named if it is so little behind another


@dataclass
class Progress:
    """The numbers of one step.

    Attributes:
        loss, grad_norm, images: of all ranks.
        data_wait_seconds: for which this rank waited for batches.
        forward_seconds: of the image encoder's forward passes on this rank's device, which the loop
            fills in. No other rank is waited for meanwhile, except under FSDP for weights.
        seconds: since the step before ended, so with what came between: the log, and copies of
            the state for checkpoints. The loop fills it in.
        saves: whether any rank asked for a checkpoint.
    """

    loss: float
    grad_norm: float
    data_wait_seconds: float
    images: int
    seconds: float = 0.0
    forward_seconds: float = 0.0
    broken: list[BrokenImage] = field(default_factory=list)
    saves: bool = False


def means(recent: Sequence[Progress]) -> dict[str, float]:
    return {
        "loss": sum(p.loss for p in recent) / len(recent),
        "grad_norm": sum(p.grad_norm for p in recent) / len(recent),
    }


class Log:
    """The log of a run, written by rank 0; the other ranks only keep its lines.

    Args:
        step: of the checkpoint from which the run goes on; later lines are dropped.
        lines: up to `step`, as the checkpoint holds them.
    Attributes:
        lines: of the whole run, from its first step.
        broken: the images of the whole run that could not be read, on all ranks.
    """

    def __init__(
        self,
        folder: Path,
        step: int,
        rank: Rank,
        wandb: str,
        config: dict[str, Any],
        lines: Sequence[dict[str, Any]] = (),
    ):
        self.rank = rank
        self.path = folder / "log.jsonl"
        self.lines = list(lines)
        self.broken = BrokenLog(folder, step, writes=rank.is_main)
        if not rank.is_main:
            return
        write_atomically(
            self.path, "".join(json.dumps(line) + "\n" for line in self.lines).encode()
        )
        # The benches of a step import this module, and do without TensorBoard.
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(folder), purge_step=step + 1)
        self.wandb = start_wandb(wandb, folder, config) if wandb else None

    def write(
        self, step: int, recent: list[Progress], learning_rate: float, metrics: dict[str, float]
    ) -> dict[str, Any]:
        """Add a line for the `recent` steps, up to and including `step`, and return it.

        Its `data_wait_share` is the mean over ranks. Of several ranks it also has the largest share
        less the smallest, and the same of the image encoder's forward passes; and it names a rank
        that is much behind, with data, or in forward passes where data do not explain it (FSDP).
        """
        before = self.lines[-1] if self.lines else {"images_seen": 0, "seconds": 0.0}
        seconds, images = sum(p.seconds for p in recent), sum(p.images for p in recent)
        waits, forwards, hosts = zip(*self.list_broken(step, recent), strict=True)
        values = {
            **means(recent),
            "learning_rate": learning_rate,
            "images_per_s": images / seconds,
            "data_wait_share": fmean(waits) / seconds,
            "peak_gib": peak_gib(self.rank.device),
            **metrics,
        }
        host = {}
        if len(hosts) > 1:
            for part, times in (("data_wait", waits), ("forward", forwards)):
                spread = (max(times) - min(times)) / seconds
                if spread > LATE + values.get("data_wait_spread", 0):
                    values["slowest_rank"] = slowest = times.index(max(times))
                    host = {"slowest_host": hosts[slowest]}
                values[f"{part}_spread"] = spread
        so_far = {
            "step": step,
            "images_seen": before["images_seen"] + images,
            "seconds": before["seconds"] + seconds,
            "broken": len(self.broken.met),
        }
        line = so_far | values | host
        self.lines.append(line)
        if self.rank.is_main:
            with naming(self.path), open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")
            with naming(self.path.parent):
                for name, value in values.items():
                    self.board.add_scalar(name, value, step)
                self.board.flush()  # what a kill loses would not be written by the resumed run
            if self.wandb:
                self.wandb.log({name: line[name] for name in line if name != "step"}, step=step)
        return line

    def list_broken(self, step: int, recent: list[Progress]) -> list[tuple[float, float, str]]:
        """List the broken images of the `recent` steps, each once; all ranks call it. Returns: of
        each rank, the seconds in these steps for which it waited for batches, those of its forward
        passes, and its host.
        """
        images = [image for progress in recent for image in progress.broken]
        wait = sum(progress.data_wait_seconds for progress in recent)
        forward = sum(progress.forward_seconds for progress in recent)
        ranks = all_gather_objects((images, wait, forward, platform.node()))
        self.broken.add(step, itertools.chain(*(images for images, *_ in ranks)))
        return [(wait, forward, host) for _, wait, forward, host in ranks]

    def close(self) -> None:
        if self.rank.is_main:
            self.board.close()
            if self.wandb:
                self.wandb.finish()


def start_wandb(project: str, folder: Path, config: dict[str, Any]) -> Any:
    try:
        import wandb
    except ImportError:
        raise InputError(f"--wandb {project} needs another package: pip install wandb") from None
    return wandb.init(project=project, name=folder.name, config=config, dir=folder, resume="auto")
