"""Executes steps of a run again, from a checkpoint or its seed, and compares the results with what
it left.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from catlip.cli import InputError
from catlip.pretraining.run import Training, prepare
from catlip.program.progress import progress
from catlip.record import plain
from catlip.table import MISSING, Cell, Table, as_text
from catlip.training import checkpoint
from catlip.training.distributed import choose_deterministic, find_place, of_all_ranks, threads_of
from catlip.training.log import Progress, means
from catlip.training.loop import on_device
from catlip.training.parallel import whole
from catlip.training.trainer import metrics_of
from catlip.verify.recorded import RecordedRun, config_of, read_run, unlike_then
from catlip.weights.files import listed, read_file

if TYPE_CHECKING:
    from catlip.verify.__main__ import Verify

LOSS = "loss"
# Flags whose values replace those that the run was started with.
REPLACED = ("shards", "labels_dir", "vocabulary", "device")
# Largest relative difference where results need not agree bit for bit; differences in rounding grow
# from step to step.
TOLERANCE = 0.01
NOT_CHECKED = "Not checked: times, memory, and the record's environment and notes."


def verify(config: "Verify") -> None:
    """Execute the steps, print the table and the verdict, and exit with 1 if anything differs."""
    recorded = read_run(config.run)
    given = plain({name: getattr(config, name) for name in REPLACED})
    given = {name: value for name, value in given.items() if value not in (None, "", [])}
    settings, method = config_of(recorded.record["config"] | given)
    if settings.deterministic:
        choose_deterministic()
    place = find_place(settings.device)
    if place.device.type == "cpu" and (threads := threads_of(recorded.folder)):
        torch.set_num_threads(threads)
    reason = unlike_then(recorded, settings, place)
    heads: dict[int, checkpoint.Head] = {}
    compared: list[Comparison] = []
    for step, path in recorded.checkpoints.items():
        try:
            heads[step], _ = checkpoint.read(path)
        except checkpoint.DamagedError as damage:
            compared.append(Comparison(step, step, path.name, differs=str(damage)))
    intact = {step: recorded.checkpoints[step] for step in heads}
    recorded = replace(recorded, checkpoints=intact)
    spans = spans_of(recorded, config.steps)
    if not any(span.start < step <= span.end for span in spans for step in recorded.lines):
        raise InputError(
            f"no line of {recorded.folder}/log.jsonl is within {config.steps} steps of a "
            "checkpoint or the start; give more --steps"
        )
    steps = sum(span.steps for span in spans)
    hidden = config.quiet or not place.is_main
    with progress(total=steps, desc=recorded.folder.name, unit="step", disable=hidden) as bar:
        for span in spans:
            training = prepare(settings, method, place)
            recorded.refuse_other_data(training.identity, heads)
            tolerance = TOLERANCE if reason else None
            replay = Replay(recorded, span, training, tolerance=tolerance)
            compared += replay.compare(settings.num_workers, bar.update)
    contradictions = recorded.contradictions(training, heads)
    unlike = sum(bool(each.differs) for each in compared) + len(contradictions)
    if place.is_main:
        how = f"within {TOLERANCE:g} ({reason})" if reason else "bit for bit"
        verdict = f"NOT verified, differences: {unlike}" if unlike else "verified"
        rows = [
            [
                Cell(f"{each.step:,}"),
                Cell(f"step {each.start:,}" if each.start else "the seed"),
                Cell(each.what),
                Cell(MISSING if each.logged is None else str(each.logged)),
                Cell(MISSING if each.replayed is None else str(each.replayed)),
                Cell(
                    f"no: {each.differs}" if each.differs else "yes",
                    small="" if each.apart is None else f"{each.apart:.1e} apart",
                ),
            ]
            for each in sorted(compared, key=lambda each: each.step)
        ]
        columns = ["Step", "From", "Compared", "Logged", "Replayed", "Agree?"]
        table = Table("verified", "Steps executed again", columns, rows=rows)
        print(as_text(table), *contradictions, NOT_CHECKED, sep="\n")
        print(
            f"{recorded.folder}: {len(compared)} comparisons over {steps:,} of "
            f"{max(recorded.lines):,} steps, {how}: {verdict}"
        )
    if of_all_ranks(unlike)[0]:  # rank 0's: the running statistics of other ranks are in no file
        sys.exit(1)


@dataclass(frozen=True)
class Span:
    """Steps `start` + 1 to `end` that are replayed one after the other, from a checkpoint or, if
    None, from the initial weights, which the seed gives.
    """

    start: int
    end: int
    checkpoint: Path | None

    @property
    def steps(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Comparison:
    """A line of the log, or a file, compared with the result of the replay at a step.

    Attributes:
        start: the step from which the replay started.
        what: LOSS, or the name of a file.
        apart: relative difference of the losses, or of the weights by norm; None in a comparison
            bit for bit.
        differs: in words; "" if they agree.
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
    """The replay of a span by a training at its first step; without a tolerance, everything has to
    agree bit for bit.
    """

    run: RecordedRun
    span: Span
    training: Training
    tolerance: float | None

    def compare(
        self, num_workers: int | None, stepped: Callable[[], object]
    ) -> Iterator[Comparison]:
        """Execute the steps and compare; all ranks call it. `stepped` is called after each step."""
        run, trainer, end = self.run, self.training.trainer, self.span.end
        recent: list[Progress] = []
        if self.span.checkpoint:
            history = trainer.load(self.span.checkpoint, self.training.identity)
            recent = [Progress(**step) for step in history.unlogged]
            yield from self._weights()
        if trainer.step == end:
            return
        batches = on_device(self.training.batches(trainer.step, num_workers), trainer.place.device)
        while trainer.step < end:
            recent.append(trainer.train_step(batches))
            stepped()
            if line := run.lines.get(trainer.step):
                numbers = means(recent) | metrics_of(trainer.objective)
                logged, replayed = line.get("loss", math.nan), numbers["loss"]
                compared = Comparison(
                    trainer.step, self.span.start, LOSS, logged=logged, replayed=replayed
                )
                if self.tolerance is None:
                    unlike = [name for name, value in numbers.items() if line.get(name) != value]
                    yield replace(compared, differs=", ".join(unlike))
                else:
                    yield self._apart(compared, abs(replayed - logged) / abs(replayed or 1.0))
                recent = []
            if path := run.checkpoints.get(trainer.step):
                yield self._checkpoint(path)
            yield from self._weights()

    def _checkpoint(self, path: Path) -> Comparison:
        """Compare the whole state with the checkpoint; with a tolerance only the weights, since the
        optimizer's state is noise where gradients are small.
        """
        now = self.training.trainer.state()
        saved = {
            part: {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
            for part, tensors in now.items()
        }
        checkpoint.load(path, self.training.identity, saved)
        parts = now if self.tolerance is None else ("objective", "average")

        def named(state: checkpoint.State) -> dict[str, Tensor]:
            return {f"{part}/{n}": tensor for part in parts for n, tensor in state[part].items()}

        return self._tensors(path.name, named(saved), named(now))

    def _weights(self) -> Iterator[Comparison]:
        """Compare the weights to transfer, if the run wrote them after this step."""
        trainer = self.training.trainer
        if path := self.run.weights.get(trainer.step):
            yield self._tensors(path.name, read_file(path)[0], trainer.weights())

    def _tensors(
        self, what: str, saved: Mapping[str, Tensor], now: Mapping[str, Tensor]
    ) -> Comparison:
        """Compare the tensors of a file with those of the replay."""
        compared = Comparison(self.training.trainer.step, self.span.start, what)
        if saved.keys() != now.keys():
            names = listed(sorted(saved.keys() ^ now.keys()))
            return replace(compared, differs=f"only one of them has {names}")
        pairs = {name: (whole(saved[name]).cpu(), whole(now[name]).cpu()) for name in saved}
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
