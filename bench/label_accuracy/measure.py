"""Labels 145,000 sentences about ImageNet's classes, and counts what each rule found.

CatLIP assumes that an image shows the first sense of each noun in its caption, and the paper does
not say how often that is right. A rule is right if the class's own synset is among the labels, and
nearly right if a synset within a step or two of it in WordNet's graph is. The sentences are not
captions of web images: most name their class outright.
"""

import itertools
from collections.abc import Iterable, Sequence
from operator import attrgetter

import pandas as pd

from bench.label_accuracy import result
from bench.label_accuracy.prompts import KINDS, Prompt
from bench.label_accuracy.result import Judged
from bench.measuring.statistics import share
from catlip.captions import Labeller
from catlip.program.progress import progress
from catlip.record import Record
from catlip.results.kind import Interval
from catlip.words.similarity import all_nearest

COUNTED = ("prompts", "exact", "within_1_hop", "within_2_hops")
NO_LABEL = 99  # steps of a sentence without labels; more than any path has


def measure(rules: Sequence[str], prompts: Sequence[Prompt], quiet: bool) -> pd.DataFrame:
    """A row for each rule and sentence, with COUNTED. The sentences of a class must be together."""
    labellers = [Labeller(rule) for rule in rules]
    rows: list[tuple[object, ...]] = []
    classes = [list(group) for _, group in itertools.groupby(prompts, key=attrgetter("name"))]
    for group in progress(classes, "labelling", disable=quiet, unit=" classes"):
        labels = [labeller.batch([prompt.text for prompt in group]) for labeller in labellers]
        hops = hops_to(group[0].synsets, itertools.chain.from_iterable(itertools.chain(*labels)))
        for labeller, given in zip(labellers, labels, strict=True):
            for prompt, synsets in zip(group, given, strict=True):
                steps = min((hops[synset] for synset in synsets), default=NO_LABEL)
                found = (steps == 0, steps <= 1, steps <= 2)
                rows.append((labeller.rule, prompt.kind, prompt.name, 1, *found))
    return pd.DataFrame(rows, columns=["rule", "kind", "name", *COUNTED])


def hops_to(synsets: Iterable[int], labels: Iterable[int]) -> dict[int, int]:
    """Label -> its steps in WordNet's graph to the nearest of `synsets`; path similarity is 1 / (1
    + steps).
    """
    targets = sorted(set(labels))
    nearest = all_nearest(targets, sorted(synsets))
    return {
        target: round(1 / best.similarity) - 1
        for target, best in zip(targets, nearest, strict=True)
    }


def fill(
    record: Record, prompts: Sequence[Prompt], sentences: pd.DataFrame
) -> result.LabelAccuracy:
    """The metrics, by rule and kind of sentence. Also writes the counts of each class into the
    record's samples.
    """
    classes = list(dict.fromkeys(prompt.name for prompt in prompts))
    rules = list(dict.fromkeys(sentences.rule))
    judged: dict[str, dict[str, Judged]] = {rule: {} for rule in rules}
    differences: dict[str, dict[str, Interval]] = {f"{rule} - {rules[0]}": {} for rule in rules[1:]}
    record.samples["classes"] = classes
    for kind in KINDS:
        of_kind = sentences[sentences.kind == kind]
        first = of_kind[of_kind.rule == rules[0]].groupby("name", sort=False).exact.sum()
        for rule in rules if len(of_kind) else ():
            of_rule = of_kind[of_kind.rule == rule]
            # Intervals resample classes, so they depend on the order of these.
            counts = of_rule.groupby("name", sort=False)[list(COUNTED)].sum()
            judged[rule][kind] = summarise(counts)
            if rule != rules[0]:
                gain = share((counts.exact - first).to_numpy(), counts.prompts.to_numpy())
                differences[f"{rule} - {rules[0]}"][kind] = gain
            of_all = counts.reindex(classes, fill_value=0)
            record.samples[f"{kind}_prompts"] = of_all.prompts.tolist()
            for name in result.SHARES:
                record.samples[f"{rule}_{kind}_{name}"] = of_all[name].tolist()
    record.notes = [
        "descriptions were written by a language model, templates are CLIP's; neither is a caption "
        "of an image",
        "intervals are 95 %, by resampling classes; samples are counts of sentences, in the order "
        "of `classes`",
    ]
    return result.LabelAccuracy(classes=len(classes), rules=judged, differences=differences)


def summarise(counts: pd.DataFrame) -> Judged:
    """Counts and fractions over all sentences; `counts` are COUNTED of each class."""
    prompts = counts.prompts.to_numpy()
    return Judged(
        prompts=int(prompts.sum()),
        exact=share(counts.exact.to_numpy(), prompts),
        within_1_hop=share(counts.within_1_hop.to_numpy(), prompts),
        within_2_hops=share(counts.within_2_hops.to_numpy(), prompts),
        classes_never_found=int((counts.exact == 0).sum()),
    )
