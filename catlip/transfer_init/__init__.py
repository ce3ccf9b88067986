"""Transfer Init: new classifiers from the pre-trained rows of their nouns (Section 4.2).

A label is one synset or several ("restaurant_kitchen"). Each synset is matched with the class of
the same synset, or else with the most similar class by WordNet's path similarity, if the similarity
is at least alpha. The label's row is the mean over its matched synsets; if no synset has a match
("archaeological_excavation"), the row is random. The paper states neither alpha, nor how ties and
the bias are treated: of several classes equally near, the one that most captions name stands for
the synset; for the bias, see catlip.transfer_init.head.

Captions are labelled by a word's first sense, label sets by the sense in the picture. A caption's
banana is banana.n.01, the herb, and COCO's is banana.n.02, the fruit; the label then gets the row
of another class, because path similarity does not compare words.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from catlip.records.table import Column, Table, clipped, listed
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.label_sets import LabelSet
from catlip.words.similarity import all_nearest
from catlip.words.wordnet import nouns

# The paper does not state it. 0.3 allows two steps, which give all but 29 of ImageNet's labels a
# row; the paper says "all".
ALPHA = 0.3
EXACT = 1.0
Kind = Literal["exact", "near", "mean", "random"]
HOW: dict[Kind, str] = {
    "exact": "a class",
    "near": "by its nearest class",
    "mean": "by the classes of its words",
    "random": "missing",
}
LISTED = 12  # missing names in the sentence


@dataclass(frozen=True)
class Part:
    """One of a label's synsets, and the class for it: None if no similarity reaches alpha."""

    synset: str
    similarity: float
    class_id: int | None
    class_name: str


@dataclass(frozen=True)
class Origin:
    """Where the row of a label comes from: `parts`, one for each of its synsets."""

    label: str
    parts: tuple[Part, ...]

    @property
    def matched(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.class_id is not None)

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
        ids = [part.class_id for part in self.matched if part.class_id is not None]
        return {class_id: count / len(ids) for class_id, count in Counter(ids).items()}

    def row(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "kind": self.kind,
            "similarity": self.similarity,
            "synsets": [part.synset for part in self.parts],
            "similarities": [part.similarity for part in self.parts],
            "classes": [[part.class_name] * bool(part.class_name) for part in self.parts],
        }


def find_origins(
    labels: LabelSet, vocabulary: Vocabulary, alpha: float = ALPHA
) -> tuple[Origin, ...]:
    """The classes that stand for each label, in the order of the labels; no weights are needed.

    Args:
        alpha: least path similarity of a class that may stand for a synset; 1 takes exact matches
            only.
    """
    classes = vocabulary.synsets
    all_candidates = all_nearest(labels.synsets, [synset.offset for synset in classes])
    origins = []
    for name, synsets, candidates in zip(labels.names, labels.synsets, all_candidates, strict=True):
        parts = []
        for synset, (similarity, class_ids) in zip(synsets, candidates, strict=True):
            ids = class_ids if similarity >= alpha else ()
            # Of ties the most frequent, then the lowest offset.
            best = max(ids, key=lambda i: (classes[i].count, -classes[i].offset), default=None)
            class_name = "" if best is None else classes[best].name
            parts.append(Part(nouns().name(synset), similarity, best, class_name))
        origins.append(Origin(name, tuple(parts)))
    return tuple(origins)


def origins_table(name: str, origins: Sequence[Origin], vocabulary: Vocabulary) -> Table:
    """A row for each name, the missing ones last: its noun, the class that stands for it, and how
    many captions name this class, of several the fewest.
    """
    rows = []
    for origin in sorted(origins, key=lambda one: [*HOW].index(one.kind)):
        captions = [vocabulary.synsets[class_id].count for class_id in origin.fractions]
        classes = [part.class_name or "none" for part in origin.parts if origin.matched]
        rows.append(
            {
                "name": clipped(origin.label, 40),
                "how": HOW[origin.kind],
                "noun": " + ".join(part.synset for part in origin.parts) or "no noun of WordNet",
                "class": " + ".join(classes) or "none",
                "similarity": origin.similarity,
                "captions": min(captions, default=None),
            }
        )
    columns = [
        Column("Name", "name"),
        Column("In the vocabulary", "how"),
        Column("Its noun", "noun"),
        Column("Class", "class"),
        Column("Similarity", "similarity", 2),
        Column("Captions", "captions", 0),
    ]
    return Table("own_classes", f"The classes of {name}", "", columns, rows)


def origins_sentence(name: str, origins: Sequence[Origin]) -> str:
    """`pets.txt: of 37 names 20 are classes, 12 are near one (similarity 0.3 or more), 5 are
    missing: ...`
    """
    kinds = [origin.kind for origin in origins]
    exact, near = kinds.count("exact"), kinds.count("near") + kinds.count("mean")
    missing = [origin.label for origin in origins if origin.kind == "random"]
    return (
        f"{name}: of {len(origins):,} names {exact:,} are classes, {near:,} are near one "
        f"(similarity {ALPHA:g} or more), {len(missing):,} are missing"
        f"{': ' * bool(missing)}{listed(missing, LISTED)}."
    )
