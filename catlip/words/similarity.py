"""The similarity of two synsets in WordNet, and the classes nearest to a label (Section 3.1).

The paper measures similarity by WordNet's path similarity, 1 / (1 + d): d is the number of steps
from one synset up to a common ancestor and down to the other, by hypernyms ("is a kind of") and
instance hypernyms ("is an instance of"). A thousand labels and 24,320 classes are 24 million pairs,
but one pass from the classes up is enough: every synset gets its steps to the nearest class below
it. A label then has only its own ancestors to choose from.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence

from catlip.words.wordnet import lines_of, nouns

UPWARD = ("@", "@i")  # WordNet's symbols for hypernym and instance hypernym
Edges = Mapping[int, Sequence[int]]  # row of a synset -> rows of its parents or children


def all_nearest(
    targets: Sequence[Sequence[int]], classes: Sequence[int]
) -> list[list[tuple[float, list[int]]]]:
    """For each synset of each target, the highest of NLTK's `path_similarity` and the positions of
    all classes that have it, by their offset.
    """
    parents, children = _edges()
    class_ids = {row: class_id for class_id, row in enumerate(nouns().rows(classes).tolist())}
    below = _steps_up(list(class_ids), parents)  # steps from the nearest class below each synset

    @functools.cache
    def nearest_below(row: int) -> frozenset[int]:
        if below[row] == 0:
            return frozenset([row])
        nearer = (child for child in children[row] if below.get(child) == below[row] - 1)
        return frozenset().union(*map(nearest_below, nearer))

    def nearest(target: int) -> tuple[float, list[int]]:
        up = _steps_up([target], parents)
        steps = {row: up[row] + below[row] for row in up if row in below}
        least = min(steps.values())  # every class is below entity.n.01, and so is the target
        rows = frozenset[int]().union(
            *(nearest_below(row) for row, total in steps.items() if total == least)
        )
        return 1 / (1 + least), [class_ids[row] for row in sorted(rows)]

    return [[nearest(row) for row in nouns().rows(synsets).tolist()] for synsets in targets]


def _steps_up(rows: Sequence[int], parents: Edges) -> dict[int, int]:
    """The rows and all their ancestors, each with the number of steps above the nearest row."""
    steps, frontier = dict.fromkeys(rows, 0), set(rows)
    depth = 0
    while frontier:
        depth += 1
        frontier = {
            parent for row in frontier for parent in parents.get(row, ()) if parent not in steps
        }
        steps |= dict.fromkeys(frontier, depth)
    return steps


@functools.cache
def _edges() -> tuple[Edges, Edges]:
    """The parents and the children of each row, in an acyclic graph with the root entity.n.01."""
    parents, children = defaultdict(list), defaultdict(list)
    row_of = {offset: row for row, offset in enumerate(nouns().offsets.tolist())}
    for lower, line in enumerate(lines_of("data.noun")):
        # offset file n count (lemma id)... pointers (symbol offset part ends)... | gloss; `count`,
        # of the lemmas, is hexadecimal.
        fields = line.split(" | ", 1)[0].split()
        first = 5 + 2 * int(fields[3], 16)
        for symbol, offset in zip(fields[first::4], fields[first + 1 :: 4], strict=False):
            if symbol in UPWARD:
                upper = row_of[int(offset)]
                parents[lower].append(upper)
                children[upper].append(lower)
    return parents, children
