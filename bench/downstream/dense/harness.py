"""One run of a dense task, from the encoder and the data to its record.

`main` does what all tasks share. A `DenseTask` reads its data, and builds, trains and tests its
model. Trainings save and resume by their library's own checkpoints, which are deleted when the run
is finished.
"""

import io
import json
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler

from bench.downstream.dense.annotations import Split, SplitName
from bench.downstream.dense.config import Dense
from bench.downstream.dense.result import TASKS
from bench.downstream.outputs import CHECKPOINTS, load_or_measure
from catlip import streams
from catlip.cli import InputError
from catlip.data.sampler import SampleOrder, StepPlan
from catlip.encoders.load import LoadedEncoder, open_encoder
from catlip.program.broken import BrokenImage, BrokenImages
from catlip.program.identity import is_recorded, refuse_another
from catlip.program.progress import Bar, progress
from catlip.recipes.base import ImageRecipe
from catlip.recipes.dry_run import print_transfer
from catlip.recipes.fidelity import differences
from catlip.records.record import Record
from catlip.system.files import write_atomically
from catlip.system.foreign import read_json
from catlip.training.checkpoint import save_weights
from catlip.training.distributed import Rank, barrier, init_distributed, use_threads
from catlip.training.trainer import WeightAverage

MAX_POINTS = 1000  # of a loss curve in a record; in a longer run each is the mean of several steps
KINDS = {task.kind: task for task in TASKS}  # of the records, as the tasks are called
KEEP = 2  # checkpoints; if the disk is full or the run is killed, the last whole one is still there
INSTALL = {  # task -> what it needs, and how to install it
    "segmentation": "mmsegmentation: .venv/bin/pip install -e '.[segmentation]'",
    "detection": "detectron2: ./run_all.sh --only setup installs it",
}

Results = dict[str, Any]  # metrics by name, and samples, which are lists


class DenseTask(ABC):
    """One run of a task. `recipe` is the config's, changed where the encoder needs it."""

    config: Dense
    recipe: ImageRecipe
    # Whether a training can only be resumed on as many processes as it was begun on.
    fixed_processes: ClassVar[bool] = False

    def __init__(self, config: Dense, rank: Rank, encoder: LoadedEncoder):
        self.config, self.rank, self.encoder = config, rank, encoder
        self.recipe = config.recipe
        self.hidden = config.quiet or not rank.is_main  # no progress bar

    @classmethod
    def check(cls, recipe: ImageRecipe, rank: Rank) -> None:
        """Refuse a recipe that cannot be trained on this device."""
        if rank.device.type == "cpu" and recipe.precision != "fp32":
            raise InputError(
                f"precision {recipe.precision} is for GPUs; on a CPU use --precision fp32"
            )

    @classmethod
    def open_encoder(cls, config: Dense, rank: Rank) -> LoadedEncoder:
        return open_encoder(config.encoder, config.seed)

    @abstractmethod
    def read(self, split: SplitName) -> Any: ...

    @abstractmethod
    def build(self, names: list[str]) -> Any:
        """The model, on its device, for classes of these names."""

    def identity(self, train: Split, val: Split) -> dict[str, Any]:
        """What determines the run besides its recipe, data set, seed and the encoder's weights."""
        sizes = {"num_train": len(train), "num_val": len(val)}
        return {"encoder": self.config.encoder, **sizes}

    @abstractmethod
    def train(self, model: Any, split: Any, identity: dict[str, Any]) -> Results:
        """Train from the last checkpoint in the run's folder, if there is one; leave the averaged
        weights in `model` and in the folder. Returns curves, `final_loss` and `seconds`.
        """

    @abstractmethod
    def test(self, model: Any, split: Any) -> Results:
        """The score, on the main rank, perhaps with "broken" images; each rank tests a part."""

    def bar(self, num_steps: int, first: int) -> Bar:
        name = self.config.out.stem
        return progress(total=num_steps, initial=first, desc=name, unit="step", disable=self.hidden)

    def finish(self, model: nn.Module, average: WeightAverage, identity: dict[str, Any]) -> None:
        model.load_state_dict(average.values)
        if self.rank.is_main:
            save_weights(self.config.folder / "weights.safetensors", model.state_dict(), identity)


def main(config: Dense) -> None:
    """Train, test, print, and write the record; a finished run is not repeated."""
    rank = init_distributed(config.device)
    if config.dry_run:
        print_transfer(config.recipe, config.kind, rank)
        return
    task_type = _load_task(config.kind)
    task_type.check(config.recipe, rank)
    encoder = task_type.open_encoder(config, rank)
    digest = encoder.digest()  # before a feature map drops the class token
    if is_recorded(config.out, config, {"encoder_digest": digest}, say=rank.is_main):
        return
    record = Record(config.out, kind=KINDS[config.kind], config=config)
    with record if rank.is_main else nullcontext():
        metrics = _measure(task_type(config, rank, encoder), record, digest)
        if rank.is_main:
            record.finish(metrics)
    if rank.is_main:
        scores = metrics.accuracies().items()
        words = "  ".join(f"{name} {value:.3f}" for name, value in scores if value is not None)
        print(f"{encoder.method:8} {words}")
        print(f"wrote {record.path}")


def _load_task(kind: str) -> type[DenseTask]:
    printed = io.StringIO()
    try:
        # What libraries print and warn of while they are imported is hidden.
        with warnings.catch_warnings(), redirect_stdout(printed), redirect_stderr(printed):
            warnings.simplefilter("ignore")
            task: type[DenseTask] = import_module(f"bench.downstream.dense.{kind}").TASK
    except ImportError as error:
        if kind not in INSTALL:
            raise
        raise InputError(f"{kind} needs {INSTALL[kind]} ({error})") from None
    return task


def _measure(task: DenseTask, record: Record, digest: str) -> Any:
    """Train and test, or read the score; only the main rank has the metrics."""
    config, recipe, rank, broken = task.config, task.recipe, task.rank, BrokenImages()

    def leave_out(images: Sequence[BrokenImage]) -> None:
        if broken.add(images):
            broken.note(record)
            if rank.is_main:
                print(f"left out: {broken.summary()}", flush=True)

    train, val = task.read("train"), task.read("val")
    if train.names != val.names:
        raise InputError(f"{config.data}: training and validation list different categories")
    leave_out([*train.broken.images(), *val.broken.images()])
    record.notes += differences(recipe, config.kind, recipe.num_steps(len(train)))
    model = task.build(train.names)
    identity = recipe.identity() | {
        "encoder_digest": digest,
        "data": config.data,
        "seed": config.seed,
        **task.identity(train, val),
    }

    def train_and_test() -> Results:
        use_threads(config.folder, rank)
        processes = {"processes": rank.world_size} if task.fixed_processes else {}
        _claim(config.folder, identity | processes, rank)
        return task.train(model, train, identity) | task.test(model, val)

    score = load_or_measure(config.folder, identity, rank, measure=train_and_test)
    samples = {name: value for name, value in score.items() if isinstance(value, list)}
    leave_out([BrokenImage(*image) for image in samples.pop("broken", [])])
    record.samples |= {**samples, "classes": train.names}
    if not rank.is_main:
        return None
    return KINDS[config.kind].read(
        {
            "method": task.encoder.method,
            "pretrain_seed": task.encoder.pretrain_seed,
            "encoder_digest": digest,
            "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
            "num_train": len(train),
            "num_val": len(val),
            "train_images": train.listed,
            "val_images": val.listed,
            "num_classes": len(train.names),
        }
        | {name: value for name, value in score.items() if not isinstance(value, list)}
        | {"broken": broken.counts()}
    )


def _claim(folder: Path, identity: dict[str, Any], rank: Rank) -> None:
    """Write the run's identity beside its checkpoints, or refuse checkpoints of another run."""
    path = folder / CHECKPOINTS / "identity.json"
    if path.is_file():
        refuse_another(folder, read_json(path, f"remove all of {path.parent}"), identity)
    barrier()  # the main rank writes only when all have looked
    if rank.is_main:
        write_atomically(path, json.dumps(identity).encode())
    barrier()


class Stream(Dataset[dict[str, Any]], ABC):
    """Position in an endless stream of epochs -> an image, augmented.

    Which image is at a position, and how it is augmented, depends on the seed and the position
    alone. So it is the same for any number of workers and ranks, and after a run is resumed.
    `crops` is one of catlip.streams, for the augmentation.
    """

    def __init__(self, count: int, seed: int, crops: int):
        self.order = SampleOrder([count], seed)
        self.count, self.seed, self.crops = count, seed, crops

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> dict[str, Any]:
        _, (number,) = self.order(np.array([position]))
        # The transforms of mmcv, mmsegmentation and detectron2 use NumPy's global generator.
        np.random.seed(streams.seed_at(self.seed, self.crops, position))
        return self.load(int(number), position)

    @abstractmethod
    def load(self, number: int, position: int) -> dict[str, Any]: ...


class MicroBatches(Sampler[list[int]]):
    """The positions of the stream that one rank sees, one micro-batch after another.

    A step's micro-batches are numbered over the ranks, and a rank takes every `world_size`-th. So
    each micro-batch has the same images on any number of devices that share the global batch.
    `first_step` is to be set before the first batch is read.
    """

    def __init__(self, plan: StepPlan, accumulation: int, rank: Rank):
        self.plan, self.first_step = plan, 0
        self.numbers = range(rank.number, accumulation * rank.world_size, rank.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, len(self.plan)):
            planned = self.plan[step]
            for number in self.numbers:
                start = planned.start + number * planned.batch
                yield list(range(start, start + planned.batch))

    def __len__(self) -> int:
        return (len(self.plan) - self.first_step) * len(self.numbers)


def curve(losses: "Tensor | NDArray[Any]") -> list[list[float]]:
    """The losses of all steps as at most MAX_POINTS points [step, mean loss]."""
    stretch = math.ceil(len(losses) / MAX_POINTS)
    return [
        [start, float(losses[start : start + stretch].mean())]
        for start in range(0, len(losses), stretch)
    ]
