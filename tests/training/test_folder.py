"""A restart deletes a run and nothing else; what is not finite is not written."""

import errno
import math
import os
import re
import resource
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from catlip.cli import InputError
from catlip.objective import Objective
from catlip.training.checkpoint import save_weights
from catlip.training.distributed import Place
from catlip.training.folder import discard, refuse_another
from catlip.training.log import Log, Progress
from catlip.training.loop import train
from catlip.training.schedule import Optimization
from catlip.training.trainer import Trainer

CPU = Place(0, 1, torch.device("cpu"))
RUN = ("checkpoints/step-00000001.pt", "log.jsonl", "weights.safetensors")
RUN += ("events.out.tfevents.1.host", "wandb/run", "trackio/project.db")


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


def test_a_run_is_discarded_whole(tmp_path: Path) -> None:
    fill(tmp_path, *RUN)
    discard(tmp_path)
    assert not list(tmp_path.iterdir())
    discard(tmp_path / "nothing")


@pytest.mark.parametrize("foreign", ["thesis.tex", "starter/pretrain", "checkpoints/llama.pt"])
def test_a_folder_that_holds_anything_else_is_not_touched(tmp_path: Path, foreign: str) -> None:
    fill(tmp_path, *RUN, foreign)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=foreign.split("/")[0]):
        discard(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_another_run_is_refused_naming_what_differs_in_a_line() -> None:
    now = {f"field_{number}": number for number in range(20)} | {"sizes": (1, 2)}
    refuse_another(Path("run"), {**now, "sizes": [1, 2]}, now)
    with pytest.raises(InputError, match="field_0 None there, 0 now") as refused:
        refuse_another(Path("run"), {"sizes": "y" * 1000}, now)
    assert len(str(refused.value)) < 500


class Batch:
    keys = ("a", "b")
    broken: tuple[str, ...] = ()

    def __len__(self) -> int:
        return 2

    def to(self, device: torch.device) -> "Batch":
        return self


class Spoilt(Objective):
    """Its loss and gradient are finite, and a running statistic is not any more."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("running", torch.ones(3))
        self.calls = 0

    def forward(self, batch: Batch) -> torch.Tensor:
        self.calls += 1
        if self.calls == 4:
            self.running[1] = math.nan
        return self.weight.square().sum()


def test_weights_that_are_not_finite_are_not_written_and_the_last_checkpoint_is_kept(
    tmp_path: Path,
) -> None:
    trainer = Trainer(Spoilt(), Optimization(precision="fp32", warmup_iterations=0), 6, place=CPU)
    options = {"log_every": 1, "checkpoint_every": 2, "quiet": True, "snapshots": 3}
    with pytest.raises(InputError, match="step 4"):
        train(trainer, lambda step: iter([Batch()] * 6), tmp_path, config={}, **options)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002.pt"]
    (snapshot,) = tmp_path.glob("*.safetensors")
    assert snapshot.name == "weights-step-00000002.safetensors"


def test_a_disk_that_is_full_names_the_path(tmp_path: Path) -> None:
    """A limit on file size fails a write half-way, as a full disk does."""
    log = Log(tmp_path, 0, CPU, projects={}, config={})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match=re.escape(os.strerror(errno.EFBIG))) as full:
            log.write(1, [Progress(1.0, 1.0, 1.0, 0.1, 1)], 0.1, {})
        with pytest.raises(OSError, match=r"weights\.safetensors") as weights_full:
            save_weights(tmp_path / "weights.safetensors", {"weight": torch.ones(3000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert full.value.filename == str(tmp_path / "log.jsonl")
    assert weights_full.value.errno == errno.EFBIG
    assert not list(tmp_path.glob("weights*"))
