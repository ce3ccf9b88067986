"""Executes some steps of a pre-training again, to check that its log follows from its data, recipe
and seed.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro

from catlip.cli import InputError, run
from catlip.pretraining.run import prepare
from catlip.program.progress import progress
from catlip.program.ranges import Count, Natural, Positive
from catlip.record import plain
from catlip.table import MISSING, Cell, Table, as_text
from catlip.training import checkpoint
from catlip.training.distributed import choose_deterministic, find_place, of_all_ranks, threads_of
from catlip.verify.recorded import config_of, read_run, unlike_then
from catlip.verify.replay import Comparison, Replay, spans_of

# Flags whose values replace those that the run was started with.
IN_PLACE = ("shards", "labels_dir", "vocabulary", "device", "num_workers")
NOT_CHECKED = (
    "Times and memory: compared between log and record only, not measured again. The record's "
    "environment and notes: not checked."
)


@dataclass(frozen=True)
class Verify:
    """Execute steps of a pre-training again, on its data, from its seed and from each checkpoint,
    and compare losses and weights with what it left. Nothing in its folder changes.

    python -m catlip.verify runs/starter/pretrain/catlip-seed0

    python -m catlip.verify runs/starter/pretrain/clip-seed0.json --steps 100000    # all steps

    A training keeps its two newest checkpoints. Steps are executed from each of them, and from the
    seed, up to the next checkpoint. The program compares losses, gradient norms and the method's
    metrics where log.jsonl has a line, a checkpoint where the steps reach one, and weights where a
    file has them. Without executing steps it checks each checkpoint's sums, each line's images and
    learning rate, the log that each checkpoint holds, and every sample and metric of the record,
    which follow from log, recipe and data. Times and memory are compared between log and record
    only, since nothing gives them again; the record's environment and notes are not checked.

    With the device, versions, threads and ranks of the run (torchrun starts several ranks),
    everything has to agree bit for bit; on a GPU only if the run used --deterministic. Otherwise
    losses and weights have to agree within --tolerance, and the program prints the reason. For
    weights this is the norm of their difference, relative to their norm.

    Exits with 1 if anything differs, and with 2 if the steps cannot be executed: on other data, or
    when a loss is not finite.
    """

    run: tyro.conf.Positional[Path]
    """The folder of a run, finished or not, or its record beside the folder."""
    steps: Count = 20
    """Optimizer steps to execute from the seed, and from each checkpoint; give the run's number of
    steps to execute all of them.
    """
    tolerance: Positive = 0.01
    """Largest relative difference where results need not agree bit for bit; differences in rounding
    grow from step to step.
    """
    shards: tuple[str, ...] = ()
    """Where the shards are now; by default where they were."""
    labels_dir: Path | None = None
    """Where the labels of the shards are now; by default where they were."""
    vocabulary: Path | None = None
    """Where the vocabulary is now; by default where it was."""
    device: str = ""
    """auto, cpu, cuda or cuda:N; by default the --device of the run."""
    num_workers: Natural | None = None
    """Processes that read and decode images; the batches do not depend on it."""
    quiet: bool = False
    """No progress bar."""


def main(config: Verify) -> None:
    """Execute the steps, print the table and the verdict, and exit with 1 if anything differs."""
    recorded = read_run(config.run)
    settings, method = config_of(recorded.record["config"] | _in_place(config))
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
            tolerance = config.tolerance if reason else None
            replay = Replay(recorded, span, training, tolerance=tolerance)
            compared += replay.compare(settings.num_workers, bar.update)
    contradictions = recorded.contradictions(training, heads)
    unlike = sum(bool(each.differs) for each in compared) + len(contradictions)
    if place.is_main:
        how = f"within {config.tolerance:g} ({reason})" if reason else "bit for bit"
        verdict = f"NOT verified, differences: {unlike}" if unlike else "verified"
        print(as_text(table(compared)), *contradictions, NOT_CHECKED, sep="\n")
        print(
            f"{recorded.folder}: {len(compared)} comparisons over {steps:,} of "
            f"{max(recorded.lines):,} steps, {how}: {verdict}"
        )
    if of_all_ranks(unlike)[0]:  # rank 0's: the running statistics of other ranks are in no file
        sys.exit(1)


def _in_place(config: Verify) -> dict[str, Any]:
    """The values of the command line that replace those of the run's config."""
    given = plain({name: getattr(config, name) for name in IN_PLACE})
    return {name: value for name, value in given.items() if value not in (None, "", [])}


def table(compared: Sequence[Comparison]) -> Table:
    """A table with one row per comparison, in the order of the steps."""
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
    return Table("verified", "Steps executed again", columns, rows=rows)


if __name__ == "__main__":
    run(Verify, main)
