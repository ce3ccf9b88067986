"""One run of a dense task, from the encoder and the data to its record.

`main` does what all tasks share; the loop of pre-training trains. A `DenseTask` reads its data, and
builds and tests its model.
"""

import io
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch.utils.data import Dataset

from bench.downstream.dense.annotations import Split, SplitName
from bench.downstream.dense.config import Dense
from bench.downstream.dense.result import TASKS
from bench.downstream.outputs import load_or_measure
from bench.downstream.probe.sweep import Data, Training, train_objective
from catlip import streams
from catlip.cli import InputError
from catlip.data.sampler import SampleOrder, devices_of
from catlip.data.workers import Items
from catlip.encoders.load import LoadedEncoder, open_encoder
from catlip.objective import Objective
from catlip.program.broken import BrokenImage, BrokenImages
from catlip.program.identity import is_recorded
from catlip.recipes.base import ImageRecipe
from catlip.recipes.dry_run import print_transfer
from catlip.recipes.fidelity import differences
from catlip.records.record import Record
from catlip.training.distributed import Rank, init_distributed, rank_and_world_size

KINDS = {task.kind: task for task in TASKS}  # of the records, as the tasks are called
INSTALL = {  # task -> what it needs, and how to install it
    "segmentation": "mmsegmentation: .venv/bin/pip install -e '.[segmentation]'",
    "detection": "detectron2: ./run_all.sh --only setup installs it",
}

Results = dict[str, Any]  # metrics by name, and samples, which are lists


class DenseTask(ABC):
    """One run of a task. `recipe` is the config's, changed where the encoder needs it."""

    config: Dense
    recipe: ImageRecipe
    compile = False

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
    def data(self, training: Training, split: Any) -> Data: ...

    def objective(self, model: Any) -> Objective:
        """What is trained, for the model that is tested."""
        trained: Objective = model
        return trained

    @abstractmethod
    def test(self, model: Any, split: Any) -> Results:
        """The score, on the main rank, perhaps with "broken" images; each rank tests a part."""


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

    training = Training(
        config.folder,
        recipe,
        identity,
        seed=config.seed,
        rank=rank,
        options=config,
        compile=task.compile,
    )

    def train_and_test() -> Results:
        lines = train_objective(training, task.objective(model), task.data(training, train))
        return {
            "loss": [[line["step"], line["loss"]] for line in lines],
            "final_loss": lines[-1]["loss"],
            "seconds": lines[-1]["seconds"],
            **task.test(model, val),
        }

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


@dataclass
class Images:
    """A micro-batch, each image in its library's form; the model itself copies it to its device."""

    values: list[Any]
    keys: list[str]
    broken: tuple[BrokenImage, ...] = ()  # whatever cannot be read was left out before

    def __len__(self) -> int:
        return len(self.values)

    def to(self, device: torch.device) -> Self:
        return self

    def used_by(self, stream: torch.cuda.Stream) -> None: ...


class Stream(Dataset[Images], ABC):
    """The micro-batches of a rank, one after another, of an endless stream of epochs.

    Which image is at a position, and how it is augmented, depends on the seed and the position
    alone. So it is the same for any number of workers and ranks, and after a run is resumed.
    """

    crops: ClassVar[int]  # one of catlip.streams, for the augmentation

    def __init__(self, keys: Sequence[str], recipe: ImageRecipe, seed: int):
        self.keys, self.seed = keys, seed
        self.plan, self.order = recipe.plan(len(keys), seed), SampleOrder([len(keys)], seed)
        self.rank, world_size = rank_and_world_size()
        self.accumulation = recipe.accumulation(world_size)

    def batches(
        self, first_step: int, num_workers: int | None, pin_memory: bool
    ) -> Iterator[Images]:
        numbers = range(first_step * self.accumulation, len(self.plan) * self.accumulation)
        return iter(Items(self, numbers, num_workers, pin_memory=pin_memory))

    def __getitem__(self, number: int) -> Images:
        number, micro_step = divmod(number, self.accumulation)
        step = self.plan[number]
        first = step.start + devices_of(self.rank, self.accumulation)[micro_step] * step.batch
        positions = range(first, first + step.batch)
        images = [self.at(position, step.resolution) for position in positions]
        return Images(images, [self.keys[self.number_at(position)] for position in positions])

    def at(self, position: int, side: int) -> Any:
        """The image at a position, of a step with squares of `side` pixels."""
        # The transforms of mmcv, mmsegmentation and detectron2 use NumPy's global generator.
        np.random.seed(streams.seed_at(self.seed, self.crops, position))
        return self.load(self.number_at(position), side)

    def number_at(self, position: int) -> int:
        return int(self.order(np.array([position]))[1][0])

    @abstractmethod
    def load(self, number: int, side: int) -> Any: ...
