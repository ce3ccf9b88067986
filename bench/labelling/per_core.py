"""Contenders that label the same captions in turns, in one process and one thread."""

import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from bench.labelling.result import Contender, RuleSpeed
from bench.measuring.statistics import ratio, summarise
from bench.wording import nltk_rules
from catlip.captions import Labeller
from catlip.cli import InputError
from catlip.label import label_captions
from catlip.label.sidecar import Labels, write_sidecar
from catlip.program.progress import progress
from catlip.words.wordnet import nouns

PLAIN = {
    "paper": nltk_rules.paper,
    "corenet": nltk_rules.corenet,
    "paper_multiword": nltk_rules.paper_multiword,
}
RELEASE_CLASSES = 24_320
DATACOMP_CAPTIONS = 1.3e9
# Two shards: after them the labeller's memory of words is that of a long run; the timed captions
# are new to it.
WARM_UP_CAPTIONS = 20_000
PEERS_SHARE = 10

Way = Callable[[Sequence[str]], Labels]


def ours(rule: str) -> Way:
    """This project's labelling, with its memory of words warm as in a long run."""
    labeller = Labeller(rule)
    return lambda captions: label_captions(
        ((str(i), caption) for i, caption in enumerate(captions)), labeller
    )


def plain(rule: Callable[[str], list[int]]) -> Way:
    """Labelling by a function of one caption, in a loop."""

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
        # Synsets in random order, so that a key is found at a random position of the list.
        offsets = np.random.default_rng(0).choice(nouns().offsets, RELEASE_CLASSES, replace=False)
        classes = [f"n{offset}" for offset in offsets.tolist()]
        labellers["nltk_tagged"] = plain(nltk_rules.corenet_tagged)
        labellers["release"] = plain(lambda caption: nltk_rules.release(caption, classes))
    return labellers


def per_core(
    rule: str, captions: Sequence[str], *, num_rounds: int, round_captions: int, quiet: bool
) -> tuple[RuleSpeed, dict[str, list[float]]]:
    """The speed of a rule, and microseconds a caption of each contender in each round."""
    ways, source = contenders(rule), cycle(captions)
    ways["ours"](list(islice(source, WARM_UP_CAPTIONS)))
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in progress(range(1 + num_rounds), f"labelling {rule}", unit="round", disable=quiet):
            rounds.append(one_round(ways, list(islice(source, round_captions)), Path(folder)))
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
