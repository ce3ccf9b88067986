"""Transfer Init: new classifiers from the pre-trained rows of their nouns (Section 4.2).

A label is one synset or several ("restaurant_kitchen"). Each synset is matched with the class of
the same synset, or else with the most similar class by WordNet's path similarity, if the similarity
is at least alpha. The label's row is the mean over its matched synsets; if no synset has a match
("archaeological_excavation"), the row is random. The paper states neither alpha, nor how ties and
the bias are treated; here they are options.

Captions are labelled by a word's first sense, label sets by the sense in the picture. A caption's
banana is banana.n.01, the herb, and COCO's is banana.n.02, the fruit; the label then gets the row
of another class, because path similarity does not compare words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from catlip.vocabulary import Vocabulary
from catlip.vocabulary.label_sets import LabelSet
from catlip.words.similarity import all_nearest
from catlip.words.wordnet import nouns

# The paper does not state it. 0.3 allows two steps, which give all but 29 of ImageNet's labels a
# row; the paper says "all".
ALPHA = 0.3
EXACT = 1.0
Kind = Literal["exact", "near", "mean", "random"]
Ties = Literal["frequent", "mean"]
# Bias and scale of the head: see catlip.transfer_init.head.
Bias = Literal["copy", "zero", "fresh"]
Scale = Literal["as_is", "fresh", "unit"]


@dataclass(frozen=True)
class Part:
    """One of a label's synsets, and the classes for it: none if no similarity reaches alpha."""

    synset: str
    similarity: float
    class_ids: tuple[int, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """Where the row of a label comes from: `parts`, one for each of its synsets."""

    label: str
    parts: tuple[Part, ...]

    @property
    def matched(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.class_ids)

    @property
    def kind(self) -> Kind:
        """A label of one synset is exact or near, of several mean; without a class it is random."""
        if not self.matched:
            return "random"
        if len(self.parts) > 1:
            return "mean"
        return "exact" if self.parts[0].similarity == EXACT else "near"

    @property
    def similarity(self) -> float | None:
        """Mean over the parts that have a class; None for a random row."""
        if not self.matched:
            return None
        return sum(part.similarity for part in self.matched) / len(self.matched)

    @property
    def fractions(self) -> dict[int, float]:
        """Class id -> weight of its row in the mean; they sum to 1. Empty for a random row."""
        fractions: dict[int, float] = {}
        for part in self.matched:
            fraction = 1 / (len(self.matched) * len(part.class_ids))
            for class_id in part.class_ids:
                fractions[class_id] = fractions.get(class_id, 0.0) + fraction
        return fractions

    def row(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "kind": self.kind,
            "similarity": self.similarity,
            "synsets": [part.synset for part in self.parts],
            "similarities": [part.similarity for part in self.parts],
            "classes": [list(part.classes) for part in self.parts],
        }


def find_origins(
    labels: LabelSet, vocabulary: Vocabulary, alpha: float = ALPHA, ties: Ties = "frequent"
) -> tuple[Origin, ...]:
    """The classes that stand for each label, in the order of the labels; no weights are needed.

    Args:
        alpha: least path similarity of a class that may stand for a synset; 1 takes exact matches
            only.
        ties: if several classes are equally near, "frequent" takes the class that most captions
            name (then the lowest offset), and "mean" takes all of them.
    """
    classes = vocabulary.synsets
    all_candidates = all_nearest(labels.synsets, [synset.offset for synset in classes])
    origins = []
    for name, synsets, candidates in zip(labels.names, labels.synsets, all_candidates, strict=True):
        parts = []
        for synset, nearest in zip(synsets, candidates, strict=True):
            ids = nearest.class_ids if nearest.similarity >= alpha else ()
            if ties == "frequent" and ids:
                ids = (max(ids, key=lambda each: (classes[each].count, -classes[each].offset)),)
            names = tuple(classes[each].name for each in ids)
            parts.append(Part(nouns().name(synset), nearest.similarity, ids, names))
        origins.append(Origin(name, tuple(parts)))
    return tuple(origins)


def coverage(origins: Sequence[Origin]) -> dict[str, float | None]:
    """The numbers of labels of each kind, of all labels, of labels of kind mean that lack a class
    for a synset (`partial`), and of different rows; and the mean similarity of labels with a class.
    """
    kinds = [origin.kind for origin in origins]
    similarities = [origin.similarity for origin in origins if origin.similarity is not None]
    means = [origin for origin in origins if origin.kind == "mean"]
    rows = {frozenset(origin.fractions.items()) for origin in origins if origin.matched}
    return {
        **{kind: kinds.count(kind) for kind in ("exact", "near", "mean", "random")},
        "total": len(origins),
        "partial": sum(len(origin.matched) < len(origin.parts) for origin in means),
        "distinct_rows": len(rows),
        "mean_similarity": sum(similarities) / len(similarities) if similarities else None,
    }
