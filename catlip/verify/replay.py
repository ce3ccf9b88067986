"""Executes steps of a run again, from a checkpoint or its seed, and compares the results with what
it left.
"""

import importlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from catlip.cli import InputError
from catlip.data.workers import group_timeout
from catlip.pretraining.config import PretrainRun
from catlip.pretraining.run import Training, broken_images, prepare, samples_of, summary
from catlip.program.broken import read_lines
from catlip.program.identity import changes, refuse_another
from catlip.program.progress import progress
from catlip.records.record import environment, from_plain, plain, read_record
from catlip.records.table import Column, Table, print_tables
from catlip.training import checkpoint
from catlip.training.distributed import (
    Rank,
    all_gather_objects,
    choose_deterministic,
    init_distributed,
    threads_of,
)
from catlip.training.log import Progress, means
from catlip.training.loop import copy_ahead
from catlip.training.parallel import gather_tensor
from catlip.training.trainer import metrics_of
from catlip.weights.files import read_file, shorten

if TYPE_CHECKING:
    from catlip.verify.__main__ import Verify

# Flags whose values replace those that the run was started with.
REPLACED = ("shards", "labels_dir", "vocabulary", "device")
# Largest relative difference where results need not agree bit for bit; differences in rounding grow
# from step to step.
TOLERANCE = 0.01
# Packages whose version may change the rounding, or the pixels.
NUMERIC_PACKAGES = ("torch", "timm", "numpy", "pillow", "simplejpeg")


COLUMNS = [
    Column("Step", "step", 0),
    Column("From", "source"),
    Column("Compared", "what"),
    Column("Agree?", "agree"),
]


@dataclass(frozen=True)
class RecordedRun:
    """What a run left: the content of its record, or of the partial record if it did not finish,
    and step -> the line of its log, its checkpoint, and, of the last step, its weights.
    """

    folder: Path
    record: dict[str, Any]
    lines: dict[int, dict[str, float]]
    checkpoints: dict[int, Path]
    weights: dict[int, Path]


@dataclass(frozen=True)
class Comparison:
    """A line of the log ("loss") or a file, compared with the result of a replay at `step`, which
    started at `start`: how they differ, in words, and how far where bits need not agree.
    """

    step: int
    start: int
    what: str
    differs: str = ""
    distance: float | None = None


def main(config: "Verify") -> None:
    """Execute the steps, print the table and the verdict, and exit with 1 if anything differs."""
    run = read_run(config.run)
    flags = plain({name: getattr(config, name) for name in REPLACED})
    given = {name: value for name, value in flags.items() if value not in (None, "", [])}
    # What the run has in its folder decides how it goes on.
    recorded = run.record["config"] | given | {"out": str(run.folder)}
    # Imported by its name: no module of catlip imports the baselines, because they need packages
    # that CatLIP does not need.
    is_catlip = recorded.get("method") == "catlip"
    module = importlib.import_module(f"{'catlip' if is_catlip else 'baselines'}.pretrain")
    settings = from_plain(recorded, module.PretrainCatLIP if is_catlip else module.PretrainBaseline)
    method = module.method_of(settings)
    if settings.deterministic:
        choose_deterministic()
    rank = init_distributed(settings.device, group_timeout(settings.shards))
    if rank.device.type == "cpu" and (threads := threads_of(run.folder)):
        torch.set_num_threads(threads)
    reason = other_rounding(run, settings, rank)
    training = prepare(settings, method, rank)
    comparisons, intact = [], {}
    for step, path in run.checkpoints.items():
        try:
            head, _ = checkpoint.read(path)
        except checkpoint.DamagedError as damage:
            comparisons.append(Comparison(step, step, path.name, str(damage)))
        else:
            intact[step] = path
            refuse_another(run.folder, head.config, training.identity)
    run = replace(run, checkpoints=intact)
    spans = spans_of(run, config.steps)
    steps = sum(end - start for start, end in spans)
    hidden = config.quiet or not rank.is_main
    with progress(total=steps, desc=run.folder.name, unit="step", disable=hidden) as bar:
        replay = Replay(run, training, TOLERANCE if reason else None, settings.num_workers)
        for start, end in spans:
            comparisons += replay.compare(start, end, bar.update)
    entries = entries_unlike_log(run, training)
    differences = sum(bool(comparison.differs) for comparison in comparisons) + len(entries)
    if rank.is_main:
        rows = []
        for found in sorted(comparisons, key=lambda comparison: comparison.step):
            distance = "" if found.distance is None else f"{found.distance:.1e} apart"
            source = f"step {found.start:,}" if found.start else "the seed"
            agree = (f"no: {found.differs}" if found.differs else "yes", distance)
            row = {"step": found.step, "source": source, "what": found.what, "agree": agree}
            rows.append(row)
        print_tables([Table("verified", "Steps executed again", "", COLUMNS, rows)])
        for name in entries:
            print(f"{name}: its record is not what the log gives")
        how = f"within {TOLERANCE:g} ({reason})" if reason else "bit for bit"
        verdict = f"NOT verified, differences: {differences}" if differences else "verified"
        print(
            f"{run.folder}: {len(comparisons)} comparisons over {steps:,} of {max(run.lines):,} "
            f"steps, {how}: {verdict}"
        )
    # Rank 0 decides: the running statistics of other ranks are in no file.
    if all_gather_objects(differences)[0]:
        sys.exit(1)


def read_run(path: Path) -> RecordedRun:
    folder = path.with_name(path.name.removesuffix(".json"))
    log, record = folder / "log.jsonl", folder.with_name(f"{folder.name}.json")
    partial = record.with_name(f"{record.name}.partial")  # if there are both, it is the newer one
    newest = partial if partial.exists() else record
    for needed in (log, newest):
        if not needed.is_file():
            raise InputError(f"{path} is not a pre-training run: there is no {needed}")
    content = read_record(newest)
    lines = {int(line["step"]): line for line in read_lines(log, step=int)}
    if content["kind"] != "pretrain" or not lines:
        raise InputError(f"{path} is not a pre-training run, or its log has no line yet")
    last = folder / "weights.safetensors"
    weights = {max(lines): last} if last.exists() else {}
    paths = checkpoint.list_checkpoints(folder / "checkpoints")
    checkpoints = {checkpoint.step_of(path): path for path in paths}
    return RecordedRun(folder, content, lines, checkpoints=checkpoints, weights=weights)


def spans_of(run: RecordedRun, steps: int) -> list[tuple[int, int]]:
    """First and last step of the spans to replay: from the seed (0) and from every checkpoint, at
    most `steps` steps each, up to the last one that has something to compare, before the next
    checkpoint. A span of 0 steps is the last checkpoint, which is beside the weights.
    """
    starts = [0, *run.checkpoints]
    ends = [*starts[1:], max([*run.lines, *starts])]
    comparable = {*run.lines, *run.checkpoints}
    spans = []
    for start, limit in zip(starts, ends, strict=True):
        within = range(start + 1, min(limit, start + steps) + 1)
        end = max(comparable.intersection(within), default=start)
        if end > start or start in run.weights:
            spans.append((start, end))
    if not any(start < step <= end for start, end in spans for step in run.lines):
        raise InputError(
            f"no line of {run.folder}/log.jsonl is within {steps} steps of a checkpoint or the "
            "start; give more --steps"
        )
    return spans


def other_rounding(run: RecordedRun, config: PretrainRun, rank: Rank) -> str:
    """Why rounding may differ from the run's, with the threads that are set now; "" if not."""
    recorded: dict[str, Any] = run.record["environment"]
    was_on_cpu = str(run.record["config"].get("device")).startswith("cpu") or "cuda" not in recorded
    names = ("cpu", "cpu_instructions") if was_on_cpu else ("device", "cuda", "cudnn")
    then, now = (
        {name: entry.get(name) for name in names}
        | {name: entry.get("packages", {}).get(name) for name in NUMERIC_PACKAGES}
        for entry in (recorded, environment())
    )
    then["ranks"], now["ranks"] = recorded.get("ranks", 1), rank.world_size
    if was_on_cpu:
        then["threads"], now["threads"] = threads_of(run.folder), torch.get_num_threads()
    words = [changes(then, now)]
    if rank.device.type == "cuda" and not config.deterministic:
        words.append("without --deterministic a GPU does not give the same result each time")
    return "; ".join(filter(None, words))


def entries_unlike_log(run: RecordedRun, training: Training) -> list[str]:
    """The names of the record's samples and metrics that differ from what the log gives."""
    if not run.record["metrics"]:  # a partial record has none
        return []
    lines = list(run.lines.values())
    broken, _ = broken_images(run.folder, training.data.shards)
    metrics = summary(training, lines, training.identity["seed"], broken).as_dict()
    names_unlike = []
    for part, expected in (("samples", samples_of(lines, [])), ("metrics", plain(metrics))):
        recorded = dict(run.record[part])
        recorded.pop("broken_keys", None)  # their paths are others where the shards have moved
        # Records of earlier versions lack later metrics.
        names_unlike += [n for n in recorded if not _same(recorded[n], expected.get(n))]
    return names_unlike


def _same(one: Any, other: Any) -> bool:
    """Whether two values of a record are equal, apart from rounding."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


@dataclass(frozen=True)
class Replay:
    """Replays spans of a run; without a tolerance, everything has to agree bit for bit."""

    run: RecordedRun
    training: Training
    tolerance: float | None
    num_workers: int | None

    def compare(self, start: int, end: int, on_step: Callable[[], object]) -> Iterator[Comparison]:
        """Execute the steps of a span, and call `on_step` after each; all ranks call it. The first
        span begins at the seed, before any checkpoint is loaded.
        """
        run, trainer = self.run, self.training.trainer
        recent: list[Progress] = []
        if start:
            head = trainer.load(run.checkpoints[start], self.training.identity)
            recent = [from_plain(step, Progress) for step in head.unlogged]
            yield from self._weights(start)
        if start == end:
            return
        batches = copy_ahead(self.training.batches(start, self.num_workers), trainer.rank.device)
        while trainer.step < end:
            recent.append(trainer.train_step(batches))
            on_step()
            if line := run.lines.get(trainer.step):
                now = means(recent) | metrics_of(trainer.objective)
                numbers: list[dict[str, Tensor]] = [{}, {}]
                for name in now if self.tolerance is None else ("loss",):
                    for tensors, side in zip(numbers, (line, now), strict=True):
                        tensors[name] = torch.tensor(side.get(name, math.nan), dtype=torch.double)
                yield self._tensors(start, "loss", *numbers)
                recent = []
            if path := run.checkpoints.get(trainer.step):
                state, (_, saved) = trainer.state(), checkpoint.read(path)
                # The optimizer's state is noise where gradients are small.
                parts = state if self.tolerance is None else ("objective", "average")
                tensors_saved, tensors_now = (
                    {f"{part}/{n}": value for part in parts for n, value in side[part].items()}
                    for side in (saved, state)
                )
                yield self._tensors(start, path.name, tensors_saved, tensors_now)
            yield from self._weights(start)

    def _weights(self, start: int) -> Iterator[Comparison]:
        """Compare the weights to transfer, if the run wrote them after this step."""
        trainer = self.training.trainer
        if path := self.run.weights.get(trainer.step):
            yield self._tensors(start, path.name, read_file(path)[0], trainer.weights())

    def _tensors(
        self, start: int, what: str, saved: Mapping[str, Tensor], now: Mapping[str, Tensor]
    ) -> Comparison:
        """Compare the tensors of a file, or numbers of the log, with the replay's."""
        comparison = Comparison(self.training.trainer.step, start, what)
        if saved.keys() != now.keys():
            names = shorten(sorted(saved.keys() ^ now.keys()))
            return replace(comparison, differs=f"only one of them has {names}")
        pairs = {name: (saved[name], gather_tensor(now[name]).cpu()) for name in saved}
        if self.tolerance is None:
            unlike = [name for name, pair in pairs.items() if not torch.equal(*pair)]
            words = f"{len(unlike)} of {len(pairs)} tensors: {shorten(unlike)}" if unlike else ""
            return replace(comparison, differs=words)
        norm = nn.utils.get_total_norm([then.double() for then, _ in pairs.values()])
        difference = [then.double() - replayed for then, replayed in pairs.values()]
        distance = float(nn.utils.get_total_norm(difference) / norm)
        differs = "" if distance <= self.tolerance else f"over {self.tolerance:g}"
        return replace(comparison, distance=distance, differs=differs)
