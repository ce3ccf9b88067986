"""Transfer Init: a classifier for new labels, made of the rows that pre-training learnt for the
same nouns.  (Section 4.2)

    # Which classes stand for which label; needs no torch.
    origins = find_origins(label_set("imagenet"), vocabulary)
    # The rows themselves; of catlip.transfer_init.head.
    head = transfer_rows(weight, bias, vocabulary, label_set("coco"))

    python -m catlip.transfer_init --vocabulary runs/starter/vocabulary.json \\
        --labels imagenet coco ade20k

A label is one synset or several ("restaurant_kitchen"). Each is looked for among the classes by
WordNet's path similarity: the class itself, or else the most similar one if it reaches alpha. The
label's row is the mean over its synsets that were found; without any ("archaeological_excavation")
it is random. The paper states neither alpha, nor what becomes of ties and of the bias; here they
are options.

Captions are labelled by a word's first sense, label sets by the sense in the picture: a caption's
banana is banana.n.01, the herb, and COCO's banana.n.02, the fruit, so that the path leads from the
one past the other. Path similarity cannot tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from catlip.cli import InputError
from catlip.transfer_init.ties import Nearest, all_nearest
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.label_sets import LabelSet
from catlip.words.wordnet import nouns

# Not stated in the paper; two steps, which give all but 29 of ImageNet's labels a row, nearly "all"
# as it says.
ALPHA = 0.3
EXACT = 1.0

Kind = Literal["exact", "near", "mean", "random"]
Ties = Literal["frequent", "mean"]
Bias = Literal[
    "copy", "zero", "fresh"
]  # of the head, as are the scales: see catlip.transfer_init.head
Scale = Literal["as_is", "fresh", "unit"]


@dataclass(frozen=True)
class Part:
    """One of a label's synsets, and the classes that stand for it.

    Attributes:
        synset: its name.
        similarity: of the nearest class, whether or not it reaches alpha.
        class_ids: of the classes whose rows are averaged; empty when none reaches alpha.
        classes: their names.
    """

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
    def found(self) -> tuple[Part, ...]:
        """The parts that have a class."""
        return tuple(part for part in self.parts if part.class_ids)

    @property
    def kind(self) -> Kind:
        """exact or near for a label of one synset, mean for one of several, random when no class
        reaches alpha.
        """
        if not self.found:
            return "random"
        if len(self.parts) > 1:
            return "mean"
        return "exact" if self.parts[0].similarity == EXACT else "near"

    @property
    def similarity(self) -> float | None:
        """Mean over the parts that have a class; None of a random row."""
        return sum(part.similarity for part in self.found) / len(self.found) if self.found else None

    @property
    def shares(self) -> dict[int, float]:
        """How much of the row each class is, by class id; they add up to 1. Empty for a random
        row.
        """
        shares: dict[int, float] = {}
        for part in self.found:
            for class_id in part.class_ids:
                shares[class_id] = shares.get(class_id, 0.0) + 1 / (
                    len(self.found) * len(part.class_ids)
                )
        return shares

    def row(self) -> dict[str, Any]:
        """Itself as a row of a table."""
        return {
            "label": self.label,
            "kind": self.kind,
            "similarity": self.similarity,
            "synsets": [part.synset for part in self.parts],
            "similarities": [part.similarity for part in self.parts],
            "classes": [list(part.classes) for part in self.parts],
        }

    def __str__(self) -> str:
        """In words: "near: mammal.n.01 (0.50)"."""
        if not self.parts:
            return "random: no noun of WordNet"
        if not self.found:
            nearest = [
                f"{part.synset} (nearest class {part.similarity:.2f})" for part in self.parts
            ]
            return f"random: {', '.join(nearest)}"
        words = [f"{_listed(part.classes)} ({part.similarity:.2f})" for part in self.found]
        missing = [f"without {part.synset}" for part in self.parts if not part.class_ids]
        return f"{self.kind}: {', '.join([*words, *missing])}"


def find_origins(
    labels: LabelSet, vocabulary: Vocabulary, alpha: float = ALPHA, ties: Ties = "frequent"
) -> tuple[Origin, ...]:
    """The classes that stand for each label, in the order of the labels; no weights are needed.

    Args:
        alpha: least path similarity of a class that may stand for a synset, in (0, 1]; 1 takes
            exact matches only.
        ties: of classes equally near, "frequent" takes the one that most captions name (then the
            lowest offset), "mean" all.
    Raises: InputError when alpha is out of range.
    """
    if not 0 < alpha <= 1:
        raise InputError(
            f"alpha {alpha} is not a path similarity; give one above 0 and up to 1, such as {ALPHA}"
        )
    flat = [synset for synsets in labels.synsets for synset in synsets]
    nearest = iter(all_nearest(flat, [synset.offset for synset in vocabulary.synsets]))
    return tuple(
        Origin(
            name, tuple(_part(synset, next(nearest), vocabulary, alpha, ties) for synset in synsets)
        )
        for name, synsets in zip(labels.names, labels.synsets, strict=True)
    )


def _part(synset: int, nearest: Nearest, vocabulary: Vocabulary, alpha: float, ties: Ties) -> Part:
    class_ids = nearest.class_ids if nearest.similarity >= alpha else ()
    if ties == "frequent" and class_ids:
        class_ids = (
            max(
                class_ids,
                key=lambda id: (vocabulary.synsets[id].count, -vocabulary.synsets[id].offset),
            ),
        )
    names = tuple(vocabulary.synsets[class_id].name for class_id in class_ids)
    return Part(nouns().name(synset), nearest.similarity, class_ids, names)


def coverage(origins: Sequence[Origin]) -> dict[str, float | None]:
    """How many labels are of each kind, and

    total: how many labels there are. partial: of the means, how many lack one of their synsets.
    distinct_rows: how many different rows the labels that are not random have; labels with the same
    row start as one. mean_similarity: over the labels that are not random; None without any.
    """
    kinds = [origin.kind for origin in origins]
    similarities = [origin.similarity for origin in origins if origin.similarity is not None]
    return {
        **{kind: kinds.count(kind) for kind in ("exact", "near", "mean", "random")},
        "total": len(origins),
        "partial": sum(
            origin.kind == "mean" and len(origin.found) < len(origin.parts) for origin in origins
        ),
        "distinct_rows": len(
            {frozenset(origin.shares.items()) for origin in origins if origin.found}
        ),
        "mean_similarity": sum(similarities) / len(similarities) if similarities else None,
    }


def _listed(classes: Sequence[str]) -> str:
    """The first three names, and how many there are besides."""
    more = f" and {len(classes) - 3} more" if len(classes) > 3 else ""
    return " + ".join(classes[:3]) + more
