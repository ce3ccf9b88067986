"""Which classes stand for the names of a class list of one's own: a table and a sentence."""

from collections.abc import Sequence

from catlip.records.table import Column, Table, clipped, listed
from catlip.transfer_init import ALPHA, Kind, Origin
from catlip.vocabulary import Vocabulary

HOW: dict[Kind, str] = {
    "exact": "a class",
    "near": "by its nearest class",
    "mean": "by the classes of its words",
    "random": "missing",
}
LISTED = 12  # missing names in the sentence


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


def origins_sentence(name: str, origins: Sequence[Origin], alpha: float = ALPHA) -> str:
    """`pets.txt: of 37 names 20 are classes, 12 are near one (similarity 0.3 or more), 5 are
    missing: ...`
    """
    kinds = [origin.kind for origin in origins]
    exact, near = kinds.count("exact"), kinds.count("near") + kinds.count("mean")
    missing = [origin.label for origin in origins if origin.kind == "random"]
    return (
        f"{name}: of {len(origins):,} names {exact:,} are classes, {near:,} are near one "
        f"(similarity {alpha:g} or more), {len(missing):,} are missing"
        f"{': ' * bool(missing)}{listed(missing, LISTED)}."
    )
