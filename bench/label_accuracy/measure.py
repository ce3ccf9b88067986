"""Labels 145,000 sentences about ImageNet's classes, and counts what each rule found and why it
missed the rest.

CatLIP assumes that an image shows the first sense of each noun in its caption, and the paper does
not say how often that is right. A rule is right if the class's own synset is among the labels, and
nearly right if a synset within a step or two of it in WordNet's graph is. The sentences are not
captions of web images: most name their class outright.

A word *names* the class when WordNet lists it in the class's synset. Of the causes that fit such
words, the first one in CAUSES is reported, so that each miss is counted once, under the cause that
was nearest to a hit.

    crane = frozenset({2012849})  # crane.n.05, the bird
    miss = why_missed(Labeller("paper").explain(text), False, crane, "crane bird", text)
    miss.cause, miss.word, miss.chosen  # OTHER_SENSE, "crane", "crane.n.01": the writer
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.label_accuracy import result
from bench.label_accuracy.prompts import KINDS, Prompt
from bench.label_accuracy.result import Judged, Missense
from bench.measuring.statistics import share
from catlip.captions import Labeller, Word
from catlip.program.progress import progress
from catlip.record import Record
from catlip.results.kind import Interval
from catlip.words import wordnet_dir
from catlip.words.similarity import nearest
from catlip.words.wordnet import nouns

COLUMNS = ("prompts", "exact", "within_1_hop", "within_2_hops", "labels", "without_label")
SHARES = COLUMNS[1:4]
TOP_MISSENSES = 50
NO_LABEL = 99  # steps of a sentence without labels; more than any path has
TAGGED_ADJECTIVE = "its word is tagged an adjective"
TAGGED_VERB = "its word is tagged a verb"
TAGGED_OTHERWISE = "its word is tagged neither noun, adjective nor verb"
NAMED_OTHERWISE = "its word is not the one that its synset is named after"
OTHER_SENSE = "its word's first sense is another synset"
OTHER_BASE = "its word is cut to another base form"
JOINED = "its words are part of a longer or overlapping noun"
SEVERAL_WORDS = "its name has several words"
OTHER_NAME = "the name in the sentence is not in WordNet's synset"
NO_NAME = "no name of it in the sentence"
TAG_CAUSES = {"JJ": TAGGED_ADJECTIVE, "VB": TAGGED_VERB}
CAUSES = (
    *(TAGGED_ADJECTIVE, TAGGED_VERB, TAGGED_OTHERWISE, NAMED_OTHERWISE, SEVERAL_WORDS),
    *(OTHER_SENSE, OTHER_BASE, JOINED, OTHER_NAME, NO_NAME),
)


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
        miss = why_missed(
            labeller.explain(prompt.text),
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


def measure(rules: Sequence[str], prompts: Sequence[Prompt], quiet: bool) -> Outcomes:
    """What each rule found in the sentences of each kind; the sentences of a class must be
    together.
    """
    labellers = [Labeller(rule) for rule in rules]
    outcomes = {(rule, kind): Outcome() for rule in rules for kind in KINDS}
    classes = [list(group) for _, group in itertools.groupby(prompts, key=attrgetter("name"))]
    for group in progress(classes, "labelling", disable=quiet, unit=" classes"):
        labels = [labeller.batch([prompt.text for prompt in group]) for labeller in labellers]
        hops = hops_to(group[0].synsets, itertools.chain.from_iterable(itertools.chain(*labels)))
        for labeller, given in zip(labellers, labels, strict=True):
            for prompt, synsets in zip(group, given, strict=True):
                outcomes[labeller.rule, prompt.kind].add(prompt, synsets, hops, labeller)
    return {key: outcome for key, outcome in outcomes.items() if outcome.by_class}


def fill(record: Record, prompts: Sequence[Prompt], outcomes: Outcomes) -> result.LabelAccuracy:
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


def _missenses(classes: dict[str, frozenset[int]], outcome: Outcome) -> Any:
    """The commonest, as JSON."""
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
    return msgspec.to_builtins(missenses)


def _names(synsets: Iterable[int]) -> str:
    return " or ".join(nouns().name(synset) for synset in sorted(synsets))


@dataclass(frozen=True)
class Miss:
    """A miss: its cause, the word that names the class ("" if none), and the name of that word's
    first sense.
    """

    cause: str
    word: str = ""
    chosen: str = ""


def why_missed(
    words: Sequence[Word], joins: bool, synsets: frozenset[int], name: str, text: str
) -> Miss:
    """Why none of `synsets` is among the labels of a sentence: the cause nearest to a hit.

    Args:
        words: what `Labeller.explain` says of the sentence.
        joins: whether the rule looks for names of several words.
        synsets: any of which would have been right.
        name: the published name of the class, which WordNet may not have.
        text: the sentence.
    """
    names = frozenset().union(*map(lemmas, synsets))
    right = {nouns().name(synset) for synset in synsets}
    misses = [
        _of_word(word, names, right) for word in words if word.token in names or word.lemma in names
    ]
    misses += _of_runs(words, names, joins)
    otherwise = Miss(OTHER_NAME if name.lower() in text.lower() else NO_NAME)
    return min(misses, key=lambda miss: CAUSES.index(miss.cause), default=otherwise)


@functools.cache
def lemmas(synset: int) -> frozenset[str]:
    """The words that WordNet lists in a noun synset, in lower case; the words of a longer name are
    joined by "_".
    """
    with open(wordnet_dir() / "data.noun", "rb") as file:
        file.seek(synset)  # a synset is the byte offset of its line
        fields = file.readline().decode("ascii").split()
    return frozenset(word.lower() for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2])


def _of_word(word: Word, names: frozenset[str], right: set[str]) -> Miss:
    """Why a word (or a run of words, under the rule that joins them) did not give the class that it
    names.
    """
    if word.lemma not in names:
        cause = OTHER_BASE
    elif word.synset not in right:
        cause = OTHER_SENSE
    else:
        cause = _of_tag(word.tag) if word.tag else NAMED_OTHERWISE
    return Miss(cause, word.lemma, word.synset)


def _of_tag(tag: str) -> str:
    return TAG_CAUSES.get(tag[:2], TAGGED_OTHERWISE)


def _of_runs(words: Sequence[Word], names: frozenset[str], joins: bool) -> Iterator[Miss]:
    """A miss for each run of tokens that names the class but is not one of `words`."""
    tokens = [(token, word) for word in words for token in word.token.split("_")]
    lengths = {name.count("_") + 1 for name in names}
    for length, place in itertools.product(lengths, range(len(tokens))):
        run, within = zip(*tokens[place : place + length], strict=True)
        joined = "_".join(run)
        if (lemma := nouns().lemmatize(joined)) in names and within[0].token != joined:
            if not joins:
                cause = SEVERAL_WORDS
            elif any("_" in word.token for word in within):
                cause = JOINED
            else:
                cause = _of_tag(within[-1].tag)
            yield Miss(cause, lemma)
