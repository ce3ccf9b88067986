"""Executes steps of a run again, from a checkpoint or its seed, and compares the results with what
it left.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from catlip.pretraining.run import Training
from catlip.training import checkpoint
from catlip.training.log import Progress, means
from catlip.training.loop import on_device
from catlip.training.parallel import whole
from catlip.training.trainer import metrics_of
from catlip.verify.recorded import RecordedRun
from catlip.weights.files import listed, read_file

LOSS = "loss"


@dataclass(frozen=True)
class Span:
    """Steps that are replayed one after the other.

    Attributes:
        start, end: the number of steps done before the first and after the last of them.
        checkpoint: where it starts; None for the initial weights, which the seed gives.
    """

    start: int
    end: int
    checkpoint: Path | None

    @property
    def steps(self) -> int:
        """The number of its steps."""
        return self.end - self.start


@dataclass(frozen=True)
class Comparison:
    """A line of the log, or a file, compared with the result of the replay.

    Attributes:
        step: the step at which the two are compared.
        start: the step from which the replay started.
        what: LOSS, or the name of a file.
        logged, replayed: the losses.
        apart: relative difference of the losses, or of the weights by norm; None in a comparison
            bit for bit.
        differs: in words, how the two differ; "" if they agree.
    """

    step: int
    start: int
    what: str
    logged: float | None = None
    replayed: float | None = None
    apart: float | None = None
    differs: str = ""


def spans_of(run: RecordedRun, steps: int) -> list[Span]:
    """The spans to replay: from the seed and from every checkpoint, at most `steps` steps each.

    A span ends at the last step within these, up to the next checkpoint, for which the run has
    something to compare. A span of 0 steps is a checkpoint that has a file of weights of the same
    step.
    """
    starts: dict[int, Path | None] = {0: None, **run.checkpoints}
    ends = [*list(starts)[1:], max([*run.lines, *starts])]
    compared = {*run.lines, *run.checkpoints, *run.weights}
    spans = []
    for (start, path), limit in zip(starts.items(), ends, strict=True):
        within = range(start + 1, min(limit, start + steps) + 1)
        span = Span(start, max(compared.intersection(within), default=start), path)
        if span.steps or (path and start in run.weights):
            spans.append(span)
    return spans


@dataclass(frozen=True)
class Replay:
    """The replay of a span.

    Attributes:
        training: the training at its first step.
        tolerance: largest relative difference of losses, and of weights by norm; None if all have
            to agree bit for bit.
    """

    run: RecordedRun
    span: Span
    training: Training
    tolerance: float | None

    def compare(
        self, num_workers: int | None, stepped: Callable[[], object]
    ) -> Iterator[Comparison]:
        """Execute the steps and compare; all ranks call it.

        Args:
            stepped: called after each step.
        Raises: InputError when a step cannot be executed, for example if its loss is not finite.
        """
        trainer = self.training.trainer
        recent: list[Progress] = []
        if self.span.checkpoint:
            history = trainer.load(self.span.checkpoint, self.training.identity)
            recent = [Progress(**step) for step in history.unlogged]
            yield from self._weights()
        if not self.span.steps:
            return
        batches = on_device(self.training.batches(trainer.step, num_workers), trainer.place.device)
        while trainer.step < self.span.end:
            recent.append(trainer.train_step(batches))
            stepped()
            if trainer.step in self.run.lines:
                yield self._losses(recent)
                recent = []
            if trainer.step in self.run.checkpoints:
                yield self._checkpoint(self.run.checkpoints[trainer.step])
            yield from self._weights()

    def _losses(self, recent: Sequence[Progress]) -> Comparison:
        """Compare the means of the `recent` steps with the line of the log."""
        trainer = self.training.trainer
        line = self.run.lines[trainer.step]
        numbers = means(recent) | metrics_of(trainer.objective)
        logged, replayed = line.get("loss", math.nan), numbers["loss"]
        compared = Comparison(trainer.step, self.span.start, LOSS, logged=logged, replayed=replayed)
        if self.tolerance is None:
            unlike = [name for name, number in numbers.items() if line.get(name) != number]
            return replace(compared, differs=", ".join(unlike))
        return self._apart(compared, abs(replayed - logged) / abs(replayed or 1.0))

    def _checkpoint(self, path: Path) -> Comparison:
        """Compare the whole state with the checkpoint at `path`; with a tolerance only the weights.

        The optimizer's state is noise where gradients are small.
        """
        now = self.training.trainer.state()
        held = {
            part: {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
            for part, tensors in now.items()
        }
        checkpoint.load(path, self.training.identity, held)
        parts = now if self.tolerance is None else ("objective", "average")
        return self._tensors(path.name, _named(held, parts), _named(now, parts))

    def _weights(self) -> Iterator[Comparison]:
        """Compare the weights to transfer, if the run wrote them after this step."""
        trainer = self.training.trainer
        if path := self.run.weights.get(trainer.step):
            held, _ = read_file(path)
            yield self._tensors(path.name, held, trainer.weights())

    def _tensors(
        self, what: str, held: Mapping[str, Tensor], now: Mapping[str, Tensor]
    ) -> Comparison:
        """Compare the tensors of a file with those of the replay."""
        compared = Comparison(self.training.trainer.step, self.span.start, what)
        if held.keys() != now.keys():
            names = listed(sorted(held.keys() ^ now.keys()))
            return replace(compared, differs=f"only one of them has {names}")
        pairs = {name: (whole(held[name]).cpu(), whole(now[name]).cpu()) for name in held}
        if self.tolerance is None:
            unlike = [name for name, (one, other) in pairs.items() if not torch.equal(one, other)]
            words = f"{len(unlike)} of {len(pairs)} tensors: {listed(unlike)}" if unlike else ""
            return replace(compared, differs=words)
        norm = nn.utils.get_total_norm([one.double() for one, _ in pairs.values()])
        apart = nn.utils.get_total_norm([one.double() - other for one, other in pairs.values()])
        return self._apart(compared, float(apart / norm))

    def _apart(self, compared: Comparison, apart: float) -> Comparison:
        assert self.tolerance is not None
        differs = "" if apart <= self.tolerance else f"over {self.tolerance:g}"
        return replace(compared, apart=apart, differs=differs)


def _named(state: checkpoint.State, parts: Iterable[str]) -> dict[str, Tensor]:
    return {f"{part}/{name}": tensor for part in parts for name, tensor in state[part].items()}
