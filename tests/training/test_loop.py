"""Accumulating is one large batch, a diverging step changes nothing, a run's files are known."""

import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from catlip.cli import InputError
from catlip.objective import Objective
from catlip.program.broken import BrokenImage
from catlip.program.identity import refuse_another
from catlip.recipes.pretrain import STARTER
from catlip.system.files import remove_written
from catlip.training.checkpoint import copy_to_host
from catlip.training.distributed import Rank
from catlip.training.loop import WRITTEN, CheckpointWriter, train
from catlip.training.schedule import AdamWForm, Optimization
from catlip.training.trainer import Implementation, Trainer

CPU = Rank(0, 1, torch.device("cpu"))


class Points:
    """A batch for `Regression`."""

    def __init__(self, values: torch.Tensor):
        self.values = values
        self.keys = [str(i) for i in range(len(values))]
        self.broken: list[BrokenImage] = []

    def __len__(self) -> int:
        return len(self.values)

    def to(self, device: torch.device) -> "Points":
        return self


class Regression(Objective):
    """The smallest objective: the loop must not care."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, batch: Points) -> torch.Tensor:
        return (self.layers(batch.values) ** 2).mean()


def trainer(
    objective: Objective | None = None,
    *,
    accumulation: int = 1,
    seed: int = 0,
    form: AdamWForm = "fused",
    **recipe,
) -> Trainer:
    objective, fp32 = objective or Regression(), replace(STARTER, precision="fp32", **recipe)
    return Trainer(
        objective,
        fp32,
        10,
        accumulation=accumulation,
        rank=CPU,
        seed=seed,
        implementation=Implementation(optimizer=form),
    )


def points() -> torch.Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


def run(
    folder: Path, stop: int = 10, *, ema_decay: float = STARTER.ema_decay, **options
) -> list[dict[str, float]]:
    """Train on other points in each step; the data ends before step `stop`, as if killed there."""

    def batches(first: int) -> Iterator[Points]:
        return (Points(points() * (1 + step)) for step in range(first, stop))

    return train(trainer(ema_decay=ema_decay), batches, folder, quiet=True, **options)


def assert_same_log(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    for name in ("step", "loss", "grad_norm", "images_seen", "learning_rate"):
        assert [line[name] for line in found] == [line[name] for line in expected]


@pytest.mark.parametrize("poison", [math.nan, math.inf])
@pytest.mark.parametrize("form", ["fused", "foreach"])
def test_step_that_is_not_finite_changes_nothing_and_names_its_samples(poison, form) -> None:
    one, parts = trainer(form=form, accumulation=3), [Points(points()) for _ in range(3)]
    one.train_step(iter(parts))
    before = copy_to_host(one.state(), wanted=True)()
    for number, part in enumerate(parts):
        part.keys = [f"{number}-{sample}" for sample in range(8)]
    parts[1].values *= poison
    with pytest.raises(InputError, match=r"step 1 on rank 0 \(samples 1-0, 1-1, 1-2, "):
        one.train_step(iter(parts))
    torch.testing.assert_close(copy_to_host(one.state(), wanted=True)(), before, rtol=0, atol=0)
    assert one.step == 1


def test_rising_decay_is_that_of_the_step_up_to_the_recipe_s() -> None:
    one = trainer(ema_decay=0.24, ema_rising=True, warmup_iterations=0, max_lr=0.1)
    average = None
    for decay in (0, 2 / 11, 0.24, 0.24):  # (1 + step) / (10 + step) is 3 / 12 at the third
        one.train_step(iter([Points(points())]))
        now = one.objective.layers[0].weight.detach().clone()
        average = now if average is None else decay * average + (1 - decay) * now
    torch.testing.assert_close(one.weights()["layers.0.weight"], average)


class Pausing(Regression):
    """Its numbers for a line of the log take a while."""

    def metrics(self) -> dict[str, torch.Tensor]:
        time.sleep(0.05)
        return {}


def test_seconds_are_all_that_passed_since_the_start_also_of_a_resumed_run(tmp_path) -> None:
    def batches(first: int, last: int = 10) -> Iterator[Points]:
        return (Points(points()) for _ in range(first, last))

    options = {"config": {}, "log_every": 1, "checkpoint_every": 2, "quiet": True}
    with pytest.raises(StopIteration):
        train(trainer(Pausing()), lambda first: batches(first, 5), tmp_path, **options)
    begun = time.monotonic()
    lines = train(trainer(Pausing()), batches, tmp_path, **options)
    passed = time.monotonic() - begun
    # Between any two lines there was a pause, but the fourth is the last one before the stop.
    seconds = [line["seconds"] for line in lines]
    assert seconds[3] > 3 * 0.05
    assert seconds[4] > seconds[3]
    assert 5 * 0.05 < seconds[9] - seconds[3] < passed
    for line, before in zip(lines[1:], seconds, strict=False):
        assert line["images_per_s"] == pytest.approx(8 / (line["seconds"] - before))


def test_checkpoint_is_written_when_its_time_has_passed(tmp_path) -> None:
    def late(first: int) -> Iterator[Points]:
        time.sleep(2)  # so that the first step, but none of the quick ones after it, takes as long
        yield from (Points(points()) for _ in range(first, 10))

    options = {"config": {}, "log_every": 5, "checkpoint_every": "0.025min", "quiet": True}
    train(trainer(), late, tmp_path, **options)
    saved = sorted(path.stem for path in (tmp_path / "checkpoints").iterdir())
    assert saved == ["step-00000001", "step-00000010"]


@pytest.mark.parametrize(
    ("every", "lost", "saved", "logged"),
    [
        *((3, lost, [3, 6], [3, 5, 6, 9, 10]) for lost in ("", "log.jsonl")),
        (3, "checkpoints/step-00000006.pt", [3, 6], [3, 5, 6, 9, 10]),
        ("0.0000001min", "", [7, 8], [5, 10]),  # after each step
    ],
)
def test_resumed_run_is_an_uninterrupted_one_whatever_file_is_lost(
    tmp_path, every, lost, saved, logged
) -> None:
    options = {"config": {}, "log_every": 5, "checkpoint_every": every}
    whole = run(tmp_path / "whole", **options)
    with pytest.raises(StopIteration):
        run(tmp_path / "cut", stop=8, **options)
    paths = sorted((tmp_path / "cut/checkpoints").iterdir())
    assert [path.stem for path in paths] == [f"step-{step:08d}" for step in saved]
    if lost:
        (tmp_path / "cut" / lost).write_bytes(b"")
    assert_same_log(run(tmp_path / "cut", **options), whole)
    assert [line["step"] for line in whole] == logged
    rates = [STARTER.learning_rate(line["step"] - 1, 10) for line in whole]
    assert [line["learning_rate"] for line in whole] == rates
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("cut", "whole")]
    assert_same_log(*([json.loads(line) for line in lines] for lines in logs))
    weights = [tmp_path / name / "weights.safetensors" for name in ("cut", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


class Noisy(Regression):
    """Drops most of what it computes, at random."""

    def forward(self, batch: Points) -> torch.Tensor:
        return nn.functional.dropout(self.layers(batch.values) ** 2, 0.7).mean()


def test_random_numbers_follow_from_seed_step_and_micro_batch() -> None:
    def losses(seed: int = 0, *, disturbed: bool = False) -> list[float]:
        one = trainer(Noisy(), seed=seed, max_lr=1e-9, min_lr=0)
        found = []
        for _ in range(4):
            if disturbed:
                torch.rand(100)
            found.append(one.train_step(iter([Points(points())])).loss)
        return found

    assert losses() == losses(disturbed=True)
    assert losses() != losses(seed=1)
    assert len(set(losses())) == 4
    two = trainer(Noisy(), accumulation=2)
    halves = two.train_step(iter([Points(points())] * 2)).loss
    assert halves != losses()[0]  # the second micro-batch has numbers of its own


class Curious(Regression):
    """Writes down what the loop tells it, and takes all micro-batches of a step in one call."""

    whole_step = True

    def __init__(self) -> None:
        super().__init__()
        self.progress: list[float] = []
        self.counts: list[int] = []

    def set_progress(self, share: float) -> None:
        self.progress.append(share)

    def forward(self, *batches: Points) -> torch.Tensor:
        self.counts.append(len(batches))
        return super().forward(Points(torch.cat([batch.values for batch in batches])))


@pytest.mark.parametrize("objective", [Regression, Curious])
def test_accumulation_equals_one_large_batch(objective) -> None:
    large, small = trainer(), trainer(objective(), accumulation=4)
    for _ in range(3):
        whole = large.train_step(iter([Points(points())]))
        parts = small.train_step(Points(part) for part in points().split(2))
        expected = (whole.loss, whole.grad_norm, 8)
        assert (parts.loss, parts.grad_norm, parts.images) == pytest.approx(expected, rel=1e-5)
    ours, theirs = (list(one.objective.parameters()) for one in (small, large))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    if objective is Curious:
        assert small.objective.progress == [0, 0.1, 0.2]
        assert small.objective.counts == [4, 4, 4]


def test_large_gradients_are_clipped() -> None:
    free, clipped = trainer(grad_clip=0.0), trainer(grad_clip=1e-4)
    for one in (free, clipped):
        one.train_step(iter([Points(points() * 100)]))
    norm = sum(float(p.grad.norm()) ** 2 for p in clipped.objective.parameters()) ** 0.5
    assert norm == pytest.approx(1e-4, rel=1e-2)
    assert sum(float(p.grad.norm()) ** 2 for p in free.objective.parameters()) ** 0.5 > 1e-2


def test_resumed_run_keeps_the_count_of_broken_images(tmp_path) -> None:
    def batches(first: int, last: int = 10) -> Iterator[Points]:
        for step in range(first, last):
            batch = Points(points())
            also = BrokenImage(f"0.tar:{100 + step // 4}", "cut short")
            batch.broken = [BrokenImage("0.tar:7", "empty"), also]
            yield batch

    options = {"config": {}, "log_every": 1, "checkpoint_every": 4, "quiet": True}
    with pytest.raises(StopIteration):
        train(trainer(), lambda first: batches(first, 6), tmp_path, **options)
    lines = train(trainer(), batches, tmp_path, **options)
    assert [line["broken"] for line in lines] == [2] * 4 + [3] * 4 + [4] * 2


def test_checkpoints_are_written_in_order() -> None:
    done, go = [], threading.Event()
    parts = iter([lambda: done.append(go.wait(10)), lambda: done.append("second")])
    with CheckpointWriter() as writer:
        writer.write(next(parts))
        assert not done
        go.set()
        writer.wait()
        writer.write(next(parts))
        assert done[0] is True
    assert done == [True, "second"]


RUN = ("checkpoints/step-00000001.pt", "log.jsonl", "weights.safetensors")
RUN += ("broken.jsonl", "events.out.tfevents.1.host", "threads.txt")
RUN += (".weights.safetensors.01ab.tmp", "checkpoints/.step-00000001.pt.01ab.tmp")


def test_only_what_a_run_wrote_is_deleted(tmp_path: Path) -> None:
    foreign = ("thesis.tex", "starter/pretrain", "checkpoints/llama.pt", "thesis.tmp")
    foreign += ("checkpoints/step-1000/optimizer.pt", "checkpoints/step-1000.pt", "weights.tmp")
    foreign += ("checkpoints/.model.tmp", "wandb/run-1/files/config.yaml", "step-00000001.pt")
    for name in (*RUN, *foreign):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    remove_written(tmp_path, WRITTEN)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*foreign}


def test_another_run_is_refused_naming_what_differs_in_a_line() -> None:
    now = {f"field_{number}": number for number in range(20)} | {"sizes": (1, 2)}
    refuse_another(Path("run"), {**now, "sizes": [1, 2]}, now)
    with pytest.raises(InputError, match="field_0 None there, 0 now") as refused:
        refuse_another(Path("run"), {"sizes": "y" * 1000}, now)
    assert len(str(refused.value)) < 500


class Spoilt(Objective):
    """Its loss and gradient are finite, and a running statistic is not any more."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("running", torch.ones(3))
        self.calls = 0

    def forward(self, batch: Points) -> torch.Tensor:
        self.calls += 1
        if self.calls == 4:
            self.running[1] = math.nan
        return self.weight.square().sum()


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    trainer = Trainer(Spoilt(), Optimization(precision="fp32", warmup_iterations=0), 6, rank=CPU)
    options = {"log_every": 1, "checkpoint_every": 2, "quiet": True}
    with pytest.raises(InputError, match="step 4"):
        train(trainer, lambda step: iter([Points(points())] * 6), tmp_path, config={}, **options)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002.pt"]
    assert not [*tmp_path.glob("*.safetensors")]
