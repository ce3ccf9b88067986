"""One run of a dense task, from the encoder and the data to its record.

`DenseTask` is what detection, segmentation and multi-label classification each do in their own way:
read their data, build, train and test their model. `transfer` does the rest for all of them: it
opens the encoder, reads the score of a finished run, and writes the record.
"""

import io
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

from numpy.typing import NDArray
from torch import Tensor, nn

from bench.downstream.dense import result
from bench.downstream.dense.config import Dense
from bench.downstream.encoders.load import LoadedEncoder, open_encoder
from bench.downstream.outputs import is_written, scored
from catlip.cli import InputError
from catlip.dry_run import print_transfer
from catlip.fidelity import differences, warmup_steps
from catlip.program.broken import BrokenImage, BrokenImages
from catlip.recipes.base import ImageRecipe
from catlip.record import Record
from catlip.training.checkpoint import save_weights
from catlip.training.distributed import Place, find_place, use_threads

# Most points of a loss curve in a record; in a longer run each is the mean of several steps.
MOST_POINTS = 1000

Results = dict[str, Any]  # metrics by name, and samples, which are lists


class Split(Protocol):
    """The training or the test images of a task.

    Attributes:
        names: of the classes, by class id.
        counts: what the files hold and lack, for the record.
        broken: the images that are left out.
    """

    @property
    def names(self) -> list[str]: ...

    @property
    def counts(self) -> dict[str, int]: ...

    @property
    def broken(self) -> BrokenImages: ...

    def __len__(self) -> int: ...

    def first(self, count: int) -> Self: ...


S = TypeVar("S", bound=Split)
M = TypeVar("M", bound=nn.Module)


class DenseTask(ABC, Generic[S, M]):
    """One run of a task: S is the type of its images, M that of its model.

    Attributes:
        recipe: the config's, changed where the encoder needs it.
    """

    record_kind: ClassVar[type[result.Dense]]
    config: Dense
    recipe: ImageRecipe

    def __init__(self, config: Dense, place: Place, encoder: LoadedEncoder):
        self.config, self.place, self.encoder = config, place, encoder
        self.recipe = config.recipe
        self.hidden = config.quiet or not place.is_main  # no progress bar

    @classmethod
    def check(cls, recipe: Any, place: Place) -> None:
        """Raises: InputError when the task cannot be trained by this recipe on this device."""

    @classmethod
    def open_encoder(cls, config: Any, place: Place) -> LoadedEncoder:
        """The encoder as it was pre-trained. Raises: InputError, as `open_encoder` does."""
        return open_encoder(config.encoder, config.seed)

    @abstractmethod
    def read(self, split: Literal["train", "val"]) -> S:
        """The images of a split that can be used. Raises: InputError."""

    @abstractmethod
    def build(self, names: list[str]) -> M:
        """The model, on its device, for classes of these names."""

    @abstractmethod
    def notes(self, num_steps: int) -> list[str]:
        """How images are changed, and what else a reader of the record should know."""

    def identity(self, train: S, val: S) -> dict[str, Any]:
        """What determines the run besides its recipe, encoder, data set and seed."""
        sizes = {"num_train": len(train), "num_val": len(val)}
        return {"encoder": self.config.encoder, **sizes}

    @abstractmethod
    def train(self, model: M, split: S, identity: dict[str, Any]) -> Results:
        """Train from the last checkpoint in the run's folder, if there is one; leave the averaged
        weights in `model`, and in the folder as weights.safetensors.

        Returns: the curves of the losses, and how long it took.
        """

    @abstractmethod
    def test(self, model: M, split: S) -> Results:
        """How good the model is. All ranks call this, each for its part of the images.

        Returns: on the main rank the score. If it has "broken", these are the images that training
            and testing could not read.
        """

    def samples(self) -> dict[str, list[Any]]:
        """What the record keeps besides the score."""
        return {}

    @staticmethod
    @abstractmethod
    def summary(score: Results) -> str:
        """The score in half a line."""

    def save(self, model: M, identity: dict[str, Any]) -> None:
        """Write the weights of `model` into the run's folder."""
        if self.place.is_main:
            path = self.config.folder / "weights.safetensors"
            save_weights(path, model.state_dict(), identity)


def transfer(config: Dense, load: Callable[[], type[DenseTask[Any, Any]]]) -> None:
    """Train, test, print, and write the record; in a dry run, print what would be done.

    A finished run is not repeated: its score is read. Its checkpoints are deleted, its weights are
    kept.

    Args:
        load: imports the task, whose library may be missing.
    Raises: InputError when the folder or the record is of another run, the loss is not finite, or
        the data or the encoder cannot be used.
    """
    place = find_place(config.device)
    if config.dry_run:
        print_transfer(config.recipe, config.kind, place)
        return
    task_type = load()
    task_type.check(config.recipe, place)
    encoder = task_type.open_encoder(config, place)
    digest = encoder.digest()  # before a feature map drops the class token
    if is_written(config.out, config, digest, say=place.is_main):
        return
    record = Record(config.out, kind=task_type.record_kind, config=config)
    with record if place.is_main else nullcontext():
        score = _measure(task_type(config, place, encoder), record, digest)
    if place.is_main:
        print(f"{encoder.method:8} {task_type.summary(score)}")
        print(f"wrote {record.path}")


@contextmanager
def importing(needs: str, install: str) -> Iterator[None]:
    """Hides what a library prints and warns of while it is imported.

    Args:
        needs: what needs which library.
        install: how to install it; the end of the message.
    Raises: InputError when the library, or a package that it needs, is not installed.
    """
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(printed), redirect_stderr(printed):
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise InputError(f"{needs} ({error}){install}") from None


def _measure(task: DenseTask[S, M], record: Record, digest: str) -> Results:
    """Train and test, or read the score of the finished run; put all of it into the record."""
    config, place = task.config, task.place
    broken = BrokenImages()
    train, val = _splits(task, record, broken)
    counts = {f"train_{what}": count for what, count in train.counts.items()}
    counts |= {f"val_{what}": count for what, count in val.counts.items()}
    if config.overfit:
        train = val = train.first(config.overfit)
    num_steps = task.recipe.num_steps(len(train))
    record.notes += [*task.notes(num_steps), *differences(task.recipe, config.kind, num_steps)]
    model = task.build(train.names)
    about = counts | {
        "method": task.encoder.method,
        "pretrain_seed": task.encoder.pretrain_seed,
        "encoder_digest": digest,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "num_train": len(train),
        "num_val": len(val),
        "num_classes": len(train.names),
    }
    if config.overfit:
        about["overfit"] = config.overfit
    identity = task.recipe.identity() | {
        "encoder_digest": digest,
        "data": config.data,
        "seed": config.seed,
        "overfit": config.overfit,
        **task.identity(train, val),
    }

    def train_and_test() -> Results:
        use_threads(config.folder, place)
        trained = task.train(model, train, identity)
        return trained | task.test(model, val)

    score = scored(config.folder, identity, place, measure=train_and_test)
    samples = {name: value for name, value in score.items() if isinstance(value, list)}
    if broken.add(BrokenImage(*image) for image in samples.pop("broken", [])):
        _leave_out(record, broken, place)
    record.samples |= {**samples, **task.samples(), "classes": train.names}
    if place.is_main:
        numbers = {name: value for name, value in score.items() if not isinstance(value, list)}
        metrics = about | numbers | {"broken": broken.counts()}
        record.measured(task.record_kind.read(metrics))
    return score


def _splits(task: DenseTask[S, M], record: Record, broken: BrokenImages) -> tuple[S, S]:
    """The images of both splits; those that cannot be used go into the record and `broken`."""
    config = task.config
    train, val = task.read("train"), task.read("val")
    if train.names != val.names:
        raise InputError(f"{config.data}: training and validation list different categories")
    for split in (train, val):
        broken.add(split.broken.images())
    _leave_out(record, broken, task.place)
    return train, val


def _leave_out(record: Record, broken: BrokenImages, place: Place) -> None:
    """Put the images that are left out into the record, and print a summary if there are any."""
    broken.note(record)
    if broken and place.is_main:
        print(f"left out: {broken.summary()}", flush=True)


def note_warmup(recipe: ImageRecipe, num_steps: int) -> list[str]:
    """A note, if a recipe of this project's own warms up for fewer steps than it says."""
    steps = warmup_steps(recipe, num_steps)
    if recipe.source != "own" or steps == recipe.warmup_iterations:
        return []
    return [f"warm-up: {steps} steps, a tenth of this run, instead of {recipe.warmup_iterations}"]


def check_precision(recipe: ImageRecipe, place: Place) -> None:
    """Raises: InputError on a CPU for precisions other than fp32, which the libraries lack."""
    if place.device.type == "cpu" and recipe.precision != "fp32":
        raise InputError(f"precision {recipe.precision} is for GPUs; on a CPU use --precision fp32")


def curve(losses: "Tensor | NDArray[Any]") -> list[list[float]]:
    """The losses of all steps as at most MOST_POINTS points [step, mean loss]."""
    stretch = math.ceil(len(losses) / MOST_POINTS)
    return [
        [start, float(losses[start : start + stretch].mean())]
        for start in range(0, len(losses), stretch)
    ]


def shown(value: float | None) -> str:
    """A metric as text, for a line in the terminal."""
    return "unknown" if value is None else f"{value:.3f}"
