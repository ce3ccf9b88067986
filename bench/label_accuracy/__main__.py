"""How often a labelling rule finds the class that a sentence is known to be about, and why it
misses the others. (Section 3.1)

CatLIP assumes that an image shows the first sense of each noun in its caption, and the paper does
not say how often that is right. This bench labels 145,000 sentences about ImageNet's classes
(bench/wording/prompts.py). A rule is right if the class's own synset is among the labels, and
nearly right if a synset within a step or two of it in WordNet's graph is. The sentences are not
captions of web images: most name their class outright.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.label_accuracy import result
from bench.label_accuracy.result import (
    Judged,
    Missense,
    accuracy_table,
    causes_table,
    missenses_table,
)
from bench.measuring.statistics import SEED, share
from bench.wording.misses import CAUSES, OTHER_SENSE, why_missed
from bench.wording.prompts import KINDS, Prompt, read_prompts
from catlip.captions import Labeller
from catlip.cli import InputError, run
from catlip.program.progress import progress
from catlip.program.ranges import Natural
from catlip.record import Record
from catlip.results.kind import Interval
from catlip.table import print_tables
from catlip.words.similarity import nearest
from catlip.words.wordnet import nouns

COLUMNS = ("prompts", "exact", "within_1_hop", "within_2_hops", "labels", "without_label")
SHARES = COLUMNS[1:4]
TOP_MISSENSES = 50
SAVE_EVERY = 100  # classes
NO_LABEL = 99  # steps of a sentence without labels; more than any path has


@dataclass(frozen=True)
class LabelAccuracy:
    """Label sentences about known ImageNet classes, and count how often the class is found and why
    it is missed.

    python -m bench.label_accuracy
    python -m bench.label_accuracy --rules paper_multiword --max-prompts 10000
    """

    rules: tuple[str, ...] = ("paper", "corenet", "paper_multiword")
    """Labelling rules; each is compared with the first."""
    max_prompts: Natural = 0
    """Judge by this many sentences, drawn at random; 0 for all."""
    out: Path = Path("runs/bench/label_accuracy/prompts.json")
    """The record to write."""
    quiet: bool = False
    """No progress bar."""


@dataclass
class Outcome:
    """What one rule found in the sentences of one kind.

    Attributes:
        by_class: name of the class -> [6] int64 counts, in the order of COLUMNS.
        causes: why a class was missed -> number of sentences.
        missenses: (class, its word, the synset of the word's first sense) -> number of sentences in
            which that sense is why the class was missed.
        labelled: the same keys -> how many of those sentences have the wrong synset as a label.
    """

    by_class: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    causes: Counter[str] = field(default_factory=Counter)
    missenses: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    labelled: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(
        self, prompt: Prompt, labels: Sequence[int], hops: dict[int, int], labeller: Labeller
    ) -> None:
        """Count one sentence; `hops` gives the steps from each of its labels to its class."""
        steps = min((hops[label] for label in labels), default=NO_LABEL)
        row = self.by_class.setdefault(prompt.name, np.zeros(len(COLUMNS), dtype=np.int64))
        row += [1, steps == 0, steps <= 1, steps <= 2, len(labels), not labels]
        if steps == 0:
            return
        words = labeller.explain(prompt.text)
        miss = why_missed(
            words,
            labeller.rule == "paper_multiword",
            prompt.synsets,
            name=prompt.name,
            text=prompt.text,
        )
        self.causes[miss.cause] += 1
        if miss.cause == OTHER_SENSE:
            missense = (prompt.name, miss.word, miss.chosen)
            self.missenses[missense] += 1
            self.labelled[missense] += miss.chosen in map(nouns().name, labels)

    def column(self, name: str) -> NDArray[np.int64]:
        """[classes], the counts in that column."""
        return np.array([row[COLUMNS.index(name)] for row in self.by_class.values()])

    def summary(self) -> Judged:
        """Counts and shares over all sentences, each share with its interval."""
        prompts, exact = self.column("prompts"), self.column("exact")
        return Judged(
            classes=len(prompts),
            prompts=int(prompts.sum()),
            exact=share(exact, prompts),
            within_1_hop=share(self.column("within_1_hop"), prompts),
            within_2_hops=share(self.column("within_2_hops"), prompts),
            labels_per_prompt=float(self.column("labels").sum() / prompts.sum()),
            without_label=int(self.column("without_label").sum()),
            classes_never_found=int((exact == 0).sum()),
            classes_found_in_half=int((2 * exact >= prompts).sum()),
            causes={cause: self.causes[cause] for cause in CAUSES},
            other_sense_labelled=sum(self.labelled.values()),
        )


Outcomes = dict[tuple[str, str], Outcome]  # (rule, kind of sentence) -> outcome


def hops_to(synsets: Iterable[int], labels: Iterable[int]) -> dict[int, int]:
    """Label -> its steps in WordNet's graph to the nearest of `synsets`; path similarity is 1 / (1
    + steps).
    """
    targets = sorted(set(labels))
    similarities = nearest(targets, sorted(synsets)).similarities if targets else np.empty(0)
    return dict(zip(targets, (np.rint(1 / similarities) - 1).astype(int).tolist(), strict=True))


def measure(
    rules: Sequence[str],
    prompts: Sequence[Prompt],
    quiet: bool,
    save: Callable[[Outcomes], None] = lambda given: None,
) -> Outcomes:
    """What each rule found in the sentences of each kind; the sentences of a class must be
    together.

    Args:
        save: called now and then with the outcomes so far.
    """
    labellers = [Labeller(rule) for rule in rules]
    outcomes = {(rule, kind): Outcome() for rule in rules for kind in KINDS}
    classes = [list(group) for _, group in itertools.groupby(prompts, key=attrgetter("name"))]
    for number, group in enumerate(progress(classes, "labelling", disable=quiet, unit=" classes")):
        labels = [labeller.batch([prompt.text for prompt in group]) for labeller in labellers]
        hops = hops_to(group[0].synsets, itertools.chain.from_iterable(itertools.chain(*labels)))
        for labeller, given in zip(labellers, labels, strict=True):
            for prompt, synsets in zip(group, given, strict=True):
                outcomes[labeller.rule, prompt.kind].add(prompt, synsets, hops, labeller)
        if number % SAVE_EVERY == 0:
            save(_found(outcomes))
    return _found(outcomes)


def _found(outcomes: Outcomes) -> Outcomes:
    return {key: outcome for key, outcome in outcomes.items() if outcome.by_class}


def main(config: LabelAccuracy) -> None:
    """Measure, print, write the record."""
    if len(set(config.rules)) != len(config.rules):
        raise InputError(f"--rules {' '.join(config.rules)}: give each rule once")
    with Record(config.out, result.LabelAccuracy, config) as record:
        prompts = _drawn(read_prompts(), config.max_prompts)
        outcomes = measure(config.rules, prompts, config.quiet, partial(_save, record, prompts))
        measured = record.measured(_fill(record, prompts, outcomes))
    print_tables([*accuracy_table(measured), *causes_table(measured), *missenses_table(measured)])
    print(f"wrote {record.path}")


def _drawn(prompts: list[Prompt], count: int) -> list[Prompt]:
    if not 0 < count < len(prompts):
        return prompts
    rows = np.random.default_rng(SEED).choice(len(prompts), count, replace=False)
    return [prompts[row] for row in np.sort(rows)]


def _save(record: Record, prompts: Sequence[Prompt], outcomes: Outcomes) -> None:
    record.metrics = _fill(record, prompts, outcomes).metrics()
    record.save()


def _fill(record: Record, prompts: Sequence[Prompt], outcomes: Outcomes) -> result.LabelAccuracy:
    """The metrics, by rule and kind of sentence. Also writes the counts of each class and the
    commonest mis-senses into the record's samples.
    """
    classes = {prompt.name: prompt.synsets for prompt in prompts}
    rules = list(dict.fromkeys(rule for rule, _ in outcomes))
    judged: dict[str, dict[str, Judged]] = {rule: {} for rule in rules}
    differences: dict[str, dict[str, Interval]] = {f"{rule} - {rules[0]}": {} for rule in rules[1:]}
    record.samples["classes"] = list(classes)
    record.samples["synsets"] = list(map(_names, classes.values()))
    none = np.zeros(len(COLUMNS), dtype=np.int64)
    for (rule, kind), outcome in outcomes.items():
        judged[rule][kind] = outcome.summary()
        first = outcomes[rules[0], kind]
        if outcome is not first:
            gain = outcome.column("exact") - first.column("exact")
            differences[f"{rule} - {rules[0]}"][kind] = share(gain, first.column("prompts"))
        rows = np.array([outcome.by_class.get(name, none) for name in classes])
        record.samples[f"{kind}_prompts"] = rows[:, 0].tolist()
        record.samples |= {
            f"{rule}_{kind}_{name}": rows[:, i].tolist() for i, name in enumerate(SHARES, 1)
        }
    for rule in rules:
        # If there are few prompts, none of them may be a description.
        if described := outcomes.get((rule, KINDS[0])):
            record.samples[f"{rule}_missenses"] = _missenses(classes, described)
    record.notes = [
        "descriptions were written by a language model, templates are CLIP's; neither is a caption "
        "of an image",
        "intervals are 95 %, by resampling classes; samples are counts of sentences, in the order "
        "of `classes`",
    ]
    return result.LabelAccuracy(classes=len(classes), rules=judged, differences=differences)


def _missenses(classes: dict[str, frozenset[int]], outcome: Outcome) -> list[dict[str, Any]]:
    missenses = [
        Missense(
            name=name,
            word=word,
            right=_names(classes[name]),
            chosen=chosen,
            prompts=count,
            labelled=outcome.labelled[name, word, chosen],
        )
        for (name, word, chosen), count in outcome.missenses.most_common(TOP_MISSENSES)
    ]
    rows: list[dict[str, Any]] = msgspec.to_builtins(missenses)
    return rows


def _names(synsets: Iterable[int]) -> str:
    return " or ".join(nouns().name(synset) for synset in sorted(synsets))


if __name__ == "__main__":
    run(LabelAccuracy, main)
