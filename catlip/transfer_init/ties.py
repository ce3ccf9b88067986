"""All classes that are nearest to a synset, not only the first of them.

`catlip.words.similarity.nearest` gives one class per target; if several are equally near, the one
with the lowest id. Transfer Init needs all of them, to average them or to choose by something other
than the order of the classes.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catlip.words.similarity import noun_graph

Edges = Mapping[int, Sequence[int]]  # row of the noun graph -> rows of its parents or children


@dataclass(frozen=True)
class Nearest:
    """The classes nearest to a synset.

    Attributes:
        similarity: their path similarity, in (0, 1].
        class_ids: positions in the classes, by ascending offset.
    """

    similarity: float
    class_ids: tuple[int, ...]


def all_nearest(targets: Sequence[int], classes: Sequence[int]) -> list[Nearest]:
    """For each target all classes of highest path similarity (see `catlip.words.similarity`).

    Args:
        targets: noun synsets.
        classes: noun synsets, each once, by class id; at least one.
    Raises: InputError when any of them is no noun synset of WordNet 3.0.
    """
    graph = noun_graph()
    parents, children = _edges()
    class_ids = {row: class_id for class_id, row in enumerate(graph.rows(classes).tolist())}
    below = _steps_up(list(class_ids), parents)  # steps from the nearest class below each synset

    @functools.cache
    def nearest_below(row: int) -> frozenset[int]:
        if below[row] == 0:
            return frozenset([row])
        nearer = (child for child in children[row] if below.get(child) == below[row] - 1)
        return frozenset().union(*map(nearest_below, nearer))

    results = []
    for target in graph.rows(targets).tolist():
        steps = {
            row: up + below[row] for row, up in _steps_up([target], parents).items() if row in below
        }
        least = min(steps.values())  # every class is below entity.n.01, and so is the target
        rows = frozenset[int]().union(
            *(nearest_below(row) for row, total in steps.items() if total == least)
        )
        results.append(Nearest(1 / (1 + least), tuple(class_ids[row] for row in sorted(rows))))
    return results


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
    """The parents of each row, and the children of each row."""
    graph = noun_graph()
    parents, children = defaultdict(list), defaultdict(list)
    for lower, upper in zip(graph.lower.tolist(), graph.upper.tolist(), strict=True):
        parents[lower].append(upper)
        children[upper].append(lower)
    return parents, children
