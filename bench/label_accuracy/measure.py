"""Labels 145,000 sentences about ImageNet's classes, and counts what each rule found and why it
missed the rest.

CatLIP assumes that an image shows the first sense of each noun in its caption, and the paper does
not say how often that is right. A rule is right if the class's own synset is among the labels, and
nearly right if a synset within a step or two of it in WordNet's graph is. The sentences are not
captions of web images: most name their class outright.

A word *names* the class when WordNet lists it in the class's synset. Of the causes that fit such
words, the first one in CAUSES is reported, so that each miss is counted once, under the cause that
was nearest to a hit.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

import pandas as pd

from bench.label_accuracy import result
from bench.label_accuracy.prompts import KINDS, Prompt
from bench.label_accuracy.result import Judged
from bench.measuring.statistics import share
from catlip.captions import Labeller, Word
from catlip.program.progress import progress
from catlip.record import Record
from catlip.results.kind import Interval
from catlip.words import wordnet_dir
from catlip.words.similarity import all_nearest
from catlip.words.wordnet import nouns

COUNTED = ("prompts", "exact", "within_1_hop", "within_2_hops")
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


def measure(rules: Sequence[str], prompts: Sequence[Prompt], quiet: bool) -> pd.DataFrame:
    """A row for each rule and sentence, with COUNTED and the `cause` of a miss. The sentences of a
    class must be together.
    """
    labellers = [Labeller(rule) for rule in rules]
    rows: list[tuple[object, ...]] = []
    classes = [list(group) for _, group in itertools.groupby(prompts, key=attrgetter("name"))]
    for group in progress(classes, "labelling", disable=quiet, unit=" classes"):
        labels = [labeller.batch([prompt.text for prompt in group]) for labeller in labellers]
        hops = hops_to(group[0].synsets, itertools.chain.from_iterable(itertools.chain(*labels)))
        for labeller, given in zip(labellers, labels, strict=True):
            joins = labeller.rule == "paper_multiword"
            for prompt, synsets in zip(group, given, strict=True):
                steps = min((hops[synset] for synset in synsets), default=NO_LABEL)
                cause = why_missed(prompt, labeller.explain(prompt.text), joins) if steps else ""
                found = (steps == 0, steps <= 1, steps <= 2)
                rows.append((labeller.rule, prompt.kind, prompt.name, 1, *found, cause))
    return pd.DataFrame(rows, columns=["rule", "kind", "name", *COUNTED, "cause"])


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
            judged[rule][kind] = summarise(of_rule, counts)
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


def summarise(sentences: pd.DataFrame, counts: pd.DataFrame) -> Judged:
    """Counts and fractions over all sentences; `counts` are COUNTED of each class."""
    prompts, causes = counts.prompts.to_numpy(), sentences.cause.value_counts()
    return Judged(
        prompts=int(prompts.sum()),
        exact=share(counts.exact.to_numpy(), prompts),
        within_1_hop=share(counts.within_1_hop.to_numpy(), prompts),
        within_2_hops=share(counts.within_2_hops.to_numpy(), prompts),
        classes_never_found=int((counts.exact == 0).sum()),
        causes={cause: int(causes.get(cause, 0)) for cause in CAUSES},
    )


def why_missed(prompt: Prompt, words: Sequence[Word], joins: bool) -> str:
    """Why the class of a sentence is not among its labels: the cause nearest to a hit.

    Args:
        words: what `Labeller.explain` says of the sentence.
        joins: whether the rule looks for names of several words.
    """
    names = frozenset().union(*map(lemmas, prompt.synsets))
    right = {nouns().name(synset) for synset in prompt.synsets}
    causes = list(_of_runs(words, names, joins))
    for word in words:
        if word.lemma in names and word.synset in right:
            tagged = TAG_CAUSES.get(word.tag[:2], TAGGED_OTHERWISE)
            causes.append(tagged if word.tag else NAMED_OTHERWISE)
        elif word.lemma in names:
            causes.append(OTHER_SENSE)
        elif word.token in names:
            causes.append(OTHER_BASE)
    # The published name of the class may not be in WordNet.
    is_named = prompt.name.lower() in prompt.text.lower()
    return min(causes, key=CAUSES.index, default=OTHER_NAME if is_named else NO_NAME)


@functools.cache
def lemmas(synset: int) -> frozenset[str]:
    """The words that WordNet lists in a noun synset, in lower case; the words of a longer name are
    joined by "_".
    """
    with open(wordnet_dir() / "data.noun", "rb") as file:
        file.seek(synset)  # a synset is the byte offset of its line
        fields = file.readline().decode("ascii").split()
    return frozenset(word.lower() for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2])


def _of_runs(words: Sequence[Word], names: frozenset[str], joins: bool) -> Iterator[str]:
    """A cause for each run of tokens that names the class but is not one of `words`."""
    tokens = [(token, word) for word in words for token in word.token.split("_")]
    lengths = {name.count("_") + 1 for name in names}
    for length, place in itertools.product(lengths, range(len(tokens))):
        run, within = zip(*tokens[place : place + length], strict=True)
        joined = "_".join(run)
        if nouns().lemmatize(joined) in names and within[0].token != joined:
            if not joins:
                yield SEVERAL_WORDS
            elif any("_" in word.token for word in within):
                yield JOINED
            else:
                yield TAG_CAUSES.get(within[-1].tag[:2], TAGGED_OTHERWISE)
