"""Times all contenders on the same captions in turns, in one process and one thread, from text to
labels file; then the whole command by number of processes.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from bench.label_accuracy.prompts import read_prompts
from bench.labelling import nltk_rules
from bench.labelling.__main__ import Labelling
from bench.labelling.result import Contender, Processes, RuleSpeed
from bench.measuring.statistics import ratio, summarise
from catlip.captions import Labeller
from catlip.cli import InputError
from catlip.data.shards import expand, open_shard, write_shard
from catlip.label import label_captions
from catlip.label.sidecar import Labels, write_sidecar
from catlip.program.progress import progress
from catlip.words.wordnet import nouns

RELEASE_CLASSES = 24_320
DATACOMP_CAPTIONS = 1.3e9
# Two shards: after them the labeller's memory of words is that of a long run; the timed captions
# are new to it.
WARM_UP_CAPTIONS = 20_000
PEERS_SHARE = 10
SCALING_SHARDS = 16  # what the whole command labels

LabelAll = Callable[[Sequence[str]], Labels]


def descriptions() -> list[str]:
    """The descriptions among the prompts, shuffled: in their own order, sentences about one class
    repeat its words.
    """
    texts = [prompt.text for prompt in read_prompts() if prompt.kind == "description"]
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]


def measure_rule(
    rule: str, captions: Sequence[str], config: Labelling
) -> tuple[RuleSpeed, dict[str, list[float]]]:
    """The speed of a rule, and microseconds a caption of each contender in each round."""
    labellers, source = contenders(rule), cycle(captions)
    labellers["ours"](list(islice(source, WARM_UP_CAPTIONS)))
    rounds = []
    # The first round only warms up.
    numbers = progress(
        range(1 + config.num_rounds), f"labelling {rule}", unit="round", disable=config.quiet
    )
    with tempfile.TemporaryDirectory() as folder:
        for _ in numbers:
            of_round = list(islice(source, config.round_captions))
            rounds.append(one_round(labellers, of_round, Path(folder)))
    taken = {name: [times[name] for times in rounds[1:]] for name in labellers}
    timed = {name: Contender(summarise(times)) for name, times in taken.items()}
    rate = 1e6 / timed["ours"].us_per_caption.median
    ratios = {
        f"{name}/ours": ratio(times, taken["ours"])
        for name, times in taken.items()
        if name != "ours"
    }
    speed = RuleSpeed(
        **timed,
        ratios=ratios,
        captions_per_s_per_core=rate,
        core_hours_for_1_3e9_captions=DATACOMP_CAPTIONS / rate / 3600,
        processes=over_processes(rule, captions, config.scaling_captions),
    )
    return speed, taken


def contenders(rule: str) -> dict[str, LabelAll]:
    """Every way to label by a rule: ours first, then plain NLTK; for the released rule also as the
    released code does it.
    """

    def in_a_loop(label_one: Callable[[str], list[int]]) -> LabelAll:
        def label(captions: Sequence[str]) -> Labels:
            labels = [label_one(caption) for caption in captions]
            counts = np.cumsum([0, *map(len, labels)], dtype=np.uint32)
            values = [synset for synsets in labels for synset in synsets]
            return Labels(np.array(values, dtype=np.uint32), counts, {})

        return label

    labeller = Labeller(rule)  # it remembers words, as in a long run
    labellers: dict[str, LabelAll] = {
        "ours": lambda captions: label_captions(
            ((str(i), caption) for i, caption in enumerate(captions)), labeller
        ),
        "nltk": in_a_loop(getattr(nltk_rules, rule)),
    }
    if rule == "corenet":
        # Synsets in random order, so that a key is found at a random position of the list.
        offsets = np.random.default_rng(0).choice(nouns().offsets, RELEASE_CLASSES, replace=False)
        classes = [f"n{offset}" for offset in offsets.tolist()]
        labellers["nltk_tagged"] = in_a_loop(nltk_rules.corenet_tagged)
        labellers["release"] = in_a_loop(lambda caption: nltk_rules.release(caption, classes))
    return labellers


def one_round(
    labellers: dict[str, LabelAll], captions: Sequence[str], folder: Path
) -> dict[str, float]:
    """Microseconds a caption, from text to labels file; ours labels all, the others the first
    tenth.
    """
    taken, values = {}, {}
    few = captions[: max(1, len(captions) // PEERS_SHARE)]
    for name, label in labellers.items():
        to_label = captions if name == "ours" else few
        begin = time.perf_counter()
        labels = label(to_label)
        write_sidecar(folder / name, labels)
        taken[name] = (time.perf_counter() - begin) / len(to_label) * 1e6
        values[name] = labels.values
        if not np.array_equal(labels.values, values["ours"][: len(labels.values)]):
            raise InputError(
                f"the labels of {name} and ours differ, so their times cannot be compared"
            )
    return taken


def over_processes(rule: str, captions: Sequence[str], total: int) -> Processes:
    """Captions a second of `python -m catlip.label` on shards, by number of processes, start-up
    included.
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
            open_shard(path)  # makes its index, which every run then reads
        cores = len(os.sched_getaffinity(0))
        for workers in sorted({*(2**n for n in range(cores.bit_length())), cores}):
            command = [sys.executable, "-m", "catlip.label", folder, "--rule", rule, "--quiet"]
            command += ["--labels-dir", f"{folder}/labels-{workers}", "--workers", str(workers)]
            begin = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            rates[workers] = SCALING_SHARDS * per_shard / (time.perf_counter() - begin)
    efficiency = {n: rate / (n * rates[1]) for n, rate in rates.items()}
    return Processes(captions_per_s=rates, efficiency=efficiency)
