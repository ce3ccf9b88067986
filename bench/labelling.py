"""How fast captions become labels: ours beside plain NLTK code and the released loader's look-up,
and how it scales.

    python -m bench.labelling
    python -m bench.labelling --shards '/data/cc3m/{00000..00003}.tar' \\
        --memory 100000 1000000 10000000

Per core: all contenders label the same captions in turns, in one process and one thread, from text
to labels file. Then the whole command over processes, its start-up, and, when asked, its memory as
the number of captions grows.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from bench.measuring.statistics import ratio, summarise
from bench.wording import nltk_rules
from bench.wording.prompts import read_prompts
from catlip.captions import Labeller
from catlip.cli import InputError, choose, run
from catlip.data.shards import expand, open_shard, write_shard
from catlip.kinds import LabellingSpeed, Summary
from catlip.kinds.words.labelling_speed import (
    Captions,
    Contender,
    Processes,
    RuleSpeed,
    command_table,
    per_core_table,
)
from catlip.label import label_captions
from catlip.label.sidecar import Labels, write_sidecar
from catlip.program.progress import progress
from catlip.program.ranges import Count
from catlip.record import Record
from catlip.table import as_text
from catlip.words.wordnet import nouns

PLAIN = {
    "paper": nltk_rules.paper,
    "corenet": nltk_rules.corenet,
    "paper_multiword": nltk_rules.paper_multiword,
}
RELEASE_CLASSES = 24_320
DATACOMP_CAPTIONS = 1.3e9
# Two shards: after them our memory of words is that of a long run; the timed captions are new to
# it.
WARM_UP_CAPTIONS = 20_000
PEERS_SHARE = 10
# The peak of this process image alone: what wait() tells includes the memory of the process that
# started it.
LABEL_AND_TELL_PEAK = """
import re, runpy
runpy.run_module("catlip.label", run_name="__main__", alter_sys=True)
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""
SCALING_SHARDS = 16  # what the whole command labels

Way = Callable[[Sequence[str]], Labels]


@dataclass(frozen=True)
class Labelling:
    """Time the labelling of captions per core, over processes and at start-up; and its memory.

    python -m bench.labelling
    python -m bench.labelling --shards '/data/cc3m/{00000..00003}.tar'
    python -m bench.labelling --rules corenet --memory 100000 1000000 10000000
    """

    rules: tuple[str, ...] = ("paper", "corenet")
    """What to time."""
    shards: tuple[str, ...] = ()
    """Whose captions; without any, 64,000 descriptions of ImageNet's classes."""
    num_rounds: Count = 8
    """Rounds of labelling in turns."""
    round_captions: Count = 5_000
    """Captions in a round, as in a shard; the slower contenders label the first tenth of them."""
    starts: Count = 5
    """Processes whose start-up is timed, of ours and of NLTK."""
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
                "rounds, starts and numbers of captions are at least 1, and --round-captions "
                f"{PEERS_SHARE}"
            )
        for rule in self.rules:
            choose("rule", rule, PLAIN)


def ours(rule: str) -> Way:
    """This project's way, with its memory of words warm as in a long run."""
    labeller = Labeller(rule)
    return lambda captions: label_captions(
        ((str(i), caption) for i, caption in enumerate(captions)), labeller
    )


def plain(rule: Callable[[str], list[int]]) -> Way:
    """A function of one caption, in a loop."""

    def label(captions: Sequence[str]) -> Labels:
        labels = [rule(caption) for caption in captions]
        counts = np.cumsum([0, *map(len, labels)], dtype=np.uint32)
        return Labels(
            np.array([synset for synsets in labels for synset in synsets], dtype=np.uint32),
            counts,
            {},
        )

    return label


def contenders(rule: str) -> dict[str, Way]:
    """Every way to label by a rule: ours first, then plain NLTK; for the released rule also as the
    released code does it.
    """
    labellers = {"ours": ours(rule), "nltk": plain(PLAIN[rule])}
    if rule == "corenet":
        # Synsets in no special order: where in the list a key is found is a matter of chance.
        offsets = np.random.default_rng(0).choice(nouns().offsets, RELEASE_CLASSES, replace=False)
        classes = [f"n{offset}" for offset in offsets.tolist()]
        labellers["nltk_tagged"] = plain(nltk_rules.corenet_tagged)
        labellers["release"] = plain(lambda caption: nltk_rules.release(caption, classes))
    return labellers


def per_core(
    rule: str, captions: Sequence[str], config: Labelling
) -> tuple[RuleSpeed, dict[str, list[float]]]:
    """The speed of a rule, and microseconds a caption of each contender in each round."""
    ways, source = contenders(rule), cycle(captions)
    ways["ours"](list(islice(source, WARM_UP_CAPTIONS)))
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in progress(
            range(1 + config.num_rounds), f"labelling {rule}", unit="round", disable=config.quiet
        ):
            rounds.append(
                one_round(ways, list(islice(source, config.round_captions)), Path(folder))
            )
    # The first only warms up.
    taken = {name: [times[name] for times in rounds[1:]] for name in ways}
    timed = {name: Contender(summarise(times)) for name, times in taken.items()}
    rate = 1e6 / timed["ours"].us_per_caption.median
    speed = RuleSpeed(
        ours=timed["ours"],
        nltk=timed["nltk"],
        nltk_tagged=timed.get("nltk_tagged"),
        release=timed.get("release"),
        ratios={
            f"{name}/ours": ratio(times, taken["ours"])
            for name, times in taken.items()
            if name != "ours"
        },
        captions_per_s_per_core=rate,
        core_hours_for_1_3e9_captions=DATACOMP_CAPTIONS / rate / 3600,
    )
    return speed, taken


def one_round(ways: dict[str, Way], captions: Sequence[str], folder: Path) -> dict[str, float]:
    """Microseconds a caption, from text to labels file; ours labels all, the others the first
    tenth.

    Raises: InputError when the labels of two contenders differ.
    """
    taken, given = {}, {}
    for name, label in ways.items():
        mine = captions if name == "ours" else captions[: len(captions) // PEERS_SHARE]
        begin = time.perf_counter()
        labels = label(mine)
        write_sidecar(folder / name, labels)
        taken[name] = (time.perf_counter() - begin) / len(mine) * 1e6
        given[name] = labels.values
    for name, values in given.items():
        if not np.array_equal(values, given["ours"][: len(values)]):
            raise InputError(
                f"the labels of {name} and ours differ, so their times cannot be compared"
            )
    return taken


def over_processes(rule: str, captions: Sequence[str], total: int, quiet: bool) -> Processes:
    """Captions a second of `python -m catlip.label` on shards, by number of processes; everything
    but start-up included.
    """
    rates, per_shard = {}, max(1, total // SCALING_SHARDS)
    with tempfile.TemporaryDirectory() as folder:
        source = cycle(captions)
        for shard in range(SCALING_SHARDS):
            block = islice(source, per_shard)
            write_shard(
                Path(folder, f"{shard:02d}.tar"),
                ((f"{i:06d}", {"txt": text.encode()}) for i, text in enumerate(block)),
            )
        for path in expand(folder):
            open_shard(path)  # its index is made once, whoever reads it
        for workers in _doubling(len(os.sched_getaffinity(0))):
            out = Path(folder, f"labels-{workers}")
            seconds, _ = _command(
                folder, "--rule", rule, "--labels-dir", str(out), "--workers", str(workers)
            )
            rates[workers] = SCALING_SHARDS * per_shard / seconds
            if not quiet:
                print(f"{rule}: {workers} processes, {rates[workers]:,.0f} captions/s")
    efficiency = {n: rate / (n * rates[1]) for n, rate in rates.items()}
    return Processes(captions_per_s=rates, efficiency=efficiency)


def start_up_s(rule: str, starts: int) -> dict[str, Summary]:
    """Seconds from a new interpreter to the first label, ours and NLTK's, in turns."""
    programs = {
        "ours": f"from catlip.captions import Labeller; Labeller({rule!r})('a dog')",
        "nltk": f"from bench.wording import nltk_rules; nltk_rules.{rule}('a dog')",
    }
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(starts):
        for name, program in programs.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            taken[name].append(time.perf_counter() - begin)
    return {name: summarise(times) for name, times in taken.items()}


def peak_mib(rule: str, captions: Sequence[str], size: int) -> float:
    """Peak resident memory of `python -m catlip.label` in one process on a file of so many
    captions.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{size}.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(
                f"{i} {' '.join(text.split())}\n"
                for i, text in enumerate(islice(cycle(captions), size))
            )
        _, peak = _command(
            str(path), "--rule", rule, "--labels-dir", f"{folder}/labels", "--workers", "1"
        )
    return peak


def _command(*arguments: str) -> tuple[float, float]:
    """Run `python -m catlip.label`; seconds, and peak MiB of its main process."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", LABEL_AND_TELL_PEAK, *arguments, "--quiet"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise InputError(
            f"`python -m catlip.label {' '.join(arguments)}` failed: {done.stderr.strip()}"
        )
    return time.perf_counter() - begin, int(done.stdout.split()[-1]) / 1024


def _doubling(most: int) -> list[int]:
    return sorted({*(2**n for n in range(most.bit_length())), most})


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
    speed, taken = per_core(rule, captions, config)
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
    return [caption for shard in shards for n in range(len(shard)) if (caption := shard.caption(n))]


if __name__ == "__main__":
    run(Labelling, main)
