"""Measures, prints and writes the record."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.labelling.command import over_processes, peak_mib, start_up_s
from bench.labelling.per_core import PEERS_SHARE, PLAIN, per_core
from bench.labelling.result import (
    Captions,
    LabellingSpeed,
    RuleSpeed,
    command_table,
    per_core_table,
)
from bench.wording.prompts import read_prompts
from catlip.cli import InputError, choose, run
from catlip.data.shards import expand, open_shard
from catlip.program.ranges import Count
from catlip.record import Record
from catlip.table import as_text


@dataclass(frozen=True)
class Labelling:
    """Time the labelling of captions per core, over processes and at start-up; and its memory.

    python -m bench.labelling
    python -m bench.labelling --shards '/data/cc3m/{00000..00003}.tar'
    python -m bench.labelling --rules corenet --memory 100000 1000000 10000000
    """

    rules: tuple[str, ...] = ("paper", "corenet")
    """Labelling rules to time."""
    shards: tuple[str, ...] = ()
    """Shards whose captions are labelled; by default 64,000 descriptions of ImageNet's classes."""
    num_rounds: Count = 8
    """Rounds of labelling in turns."""
    round_captions: Count = 5_000
    """Captions in a round, as in a shard; the slower contenders label the first tenth of them."""
    starts: Count = 5
    """Number of processes whose start-up is timed, of this project's labelling and of NLTK's."""
    scaling_captions: Count = 320_000
    """Captions that the whole command labels, in 16 shards, with each number of processes."""
    memory: tuple[Count, ...] = ()
    """Numbers of captions at which to show peak memory; 10 million take some minutes."""
    out: Path = Path("runs/bench/labelling/labelling.json")
    """The record to write."""
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self) -> None:
        least = min(
            self.num_rounds,
            self.starts,
            self.scaling_captions,
            self.round_captions // PEERS_SHARE,
            *self.memory,
        )
        if least < 1:
            raise InputError(
                "rounds, starts and numbers of captions must be at least 1, and --round-captions "
                f"at least {PEERS_SHARE}"
            )
        for rule in self.rules:
            choose("rule", rule, PLAIN)


def main(config: Labelling) -> None:
    """Measure, print, write the record."""
    captions = _captions(config.shards) if config.shards else _descriptions()
    words = float(np.mean([len(caption.split()) for caption in captions]))
    speed = LabellingSpeed(captions=Captions(distinct=len(set(captions)), words=words), rules={})
    with Record(config.out, LabellingSpeed, config) as record:
        for rule in config.rules:
            for of_rule, taken in _measured_by_and_by(rule, captions, config):
                record.samples |= {f"{rule}_{name}_us": times for name, times in taken.items()}
                speed = replace(speed, rules=speed.rules | {rule: of_rule})
                record.metrics = speed.metrics()
                record.save()
        measured = record.measured(speed)
    for table in (*per_core_table(measured), *command_table(measured)):
        print(f"{as_text(table)}\n")
    print(f"wrote {record.path}")


def _measured_by_and_by(
    rule: str, captions: Sequence[str], config: Labelling
) -> Iterator[tuple[RuleSpeed, dict[str, list[float]]]]:
    """The speed of a rule after each part that was measured, and the raw times per core."""
    speed, taken = per_core(
        rule,
        captions,
        num_rounds=config.num_rounds,
        round_captions=config.round_captions,
        quiet=config.quiet,
    )
    yield speed, taken
    speed = replace(speed, start_up_s=start_up_s(rule, config.starts))
    yield speed, taken
    processes = over_processes(rule, captions, config.scaling_captions, quiet=config.quiet)
    speed = replace(speed, processes=processes)
    yield speed, taken
    for size in config.memory:
        peaks = speed.peak_mib | {size: peak_mib(rule, captions, size)}
        speed = replace(speed, peak_mib=peaks)
        yield speed, taken


def _descriptions() -> list[str]:
    """The descriptions among the prompts, shuffled: in their own order, sentences about one class
    repeat its words.
    """
    descriptions = [prompt.text for prompt in read_prompts() if prompt.kind == "description"]
    return [descriptions[i] for i in np.random.default_rng(0).permutation(len(descriptions))]


def _captions(patterns: Sequence[str]) -> list[str]:
    shards = [open_shard(path) for path in expand(patterns)]
    samples = (shard.captions(number) for shard in shards for number in range(len(shard)))
    return [caption for captions in samples for caption in captions if caption]


if __name__ == "__main__":
    run(Labelling, main)
