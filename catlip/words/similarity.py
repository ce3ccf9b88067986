"""The similarity of two synsets in WordNet, and the class nearest to a label (Section 3.1).

    nearest([3636248], classes)     # the best class for a lamp, and its similarity

The paper measures similarity by WordNet's path similarity, 1 / (1 + d): d is the number of steps
from one synset up to a common ancestor and down to the other, by hypernyms ("is a kind of") and
instance hypernyms ("is an instance of"). A thousand labels and 24,320 classes are 24 million pairs,
but two passes over the graph are enough: from the leaves up, every synset gets the nearest class
below it; then, from the root down, the nearest class by way of each ancestor.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.system.cache import kept, packed, unpacked
from catlip.words import stamp, wordnet_dir, words_file
from catlip.words.wordnet import VERSION

# Stored beside WordNet's files; the number changes with the content of the file.
GRAPH_FILE = "hypernyms-2.npz"
UPWARD = ("@", "@i")  # WordNet's symbols for hypernym and instance hypernym
FAR = np.iinfo(np.int64).max >> 1  # more than any path, and one more step does not overflow


@dataclass(frozen=True)
class NounGraph:
    """WordNet's nouns as an acyclic graph with the root entity.n.01.

    Attributes:
        offsets: [82,115] int64, every noun synset, ascending.
        lower, upper: [84,427] int64, rows of `offsets`: the two ends of each hypernym edge.
    """

    offsets: NDArray[np.int64]
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]

    def rows(self, synsets: Sequence[int]) -> NDArray[np.int64]:
        """The rows of `synsets`. Raises: InputError when one is no noun synset of WordNet 3.0."""
        wanted = np.asarray(synsets, dtype=np.int64)
        rows = np.minimum(np.searchsorted(self.offsets, wanted), len(self.offsets) - 1)
        if len(unknown := wanted[self.offsets[rows] != wanted]):
            raise InputError(f"{unknown[0]} is not a noun synset of WordNet {VERSION}")
        return rows


@dataclass(frozen=True)
class Nearest:
    """The best match of each of n targets.

    Attributes:
        class_ids: [n] int64, positions in the classes; of equally near classes the lowest, which is
            the most frequent one.
        similarities: [n] float64 in (0, 1], path similarity; 1 is the same synset.
    """

    class_ids: NDArray[np.int64]
    similarities: NDArray[np.float64]


def nearest(targets: Sequence[int], classes: Sequence[int]) -> Nearest:
    """For each target, the class of highest path similarity.

    Equal to computing NLTK's `path_similarity` for all pairs.

    Args:
        targets: n noun synsets.
        classes: noun synsets, each once, by class id; at least one.
    Raises: InputError when any of them is no noun synset of WordNet 3.0.
    """
    graph = noun_graph()
    # Steps and class id in one number: the least number is the nearest class, and of several the
    # one with the lowest id.
    best = np.full(len(graph.offsets), FAR)
    best[graph.rows(classes)] = np.arange(len(classes))
    _spread(best, graph.lower, graph.upper, len(classes))
    _spread(best, graph.upper, graph.lower, len(classes))
    steps, class_ids = np.divmod(best[graph.rows(targets)], len(classes))
    return Nearest(class_ids, 1 / (1 + steps))


def _spread(
    best: NDArray[np.int64], sources: NDArray[np.int64], ends: NDArray[np.int64], step: int
) -> None:
    """Lower `best` in place until no end of an edge is above its source plus one step."""
    changed = True
    while changed:
        before = best.copy()
        np.minimum.at(best, ends, before[sources] + step)
        changed = not np.array_equal(before, best)


@functools.cache
def noun_graph() -> NounGraph:
    """WordNet 3.0's noun graph, from the cache or from its data file.

    Raises: InputError when WordNet cannot be fetched.
    """
    return kept(wordnet_dir() / GRAPH_FILE, _packed_graph, _unpacked_graph)


def _packed_graph() -> bytes:
    offsets, edges = _read_edges(words_file(wordnet_dir, "data.noun").decode("ascii"))
    arrays = {"offsets": offsets, "lower": edges[:, 0], "upper": edges[:, 1]}
    return packed({**arrays, "stamp": np.array(stamp(wordnet_dir()))})


def _unpacked_graph(path: Path) -> NounGraph:
    """Raises: ValueError when the file is damaged, or made from other files of WordNet."""
    arrays = unpacked(path)
    if str(arrays.get("stamp")) != stamp(path.parent):
        raise ValueError(f"{path} is of another WordNet")
    return NounGraph(*(arrays[name].astype(np.int64) for name in ("offsets", "lower", "upper")))


def _read_edges(data: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The synsets, and [edges, 2] rows of a synset and of a hypernym of it."""
    lines = [line for line in data.splitlines() if not line.startswith(" ")]
    offsets = np.array([int(line[:8]) for line in lines], dtype=np.int32)
    edges = [(row, upper) for row, line in enumerate(lines) for upper in _hypernyms(line)]
    rows, uppers = np.array(edges, dtype=np.int32).T
    return offsets, np.stack([rows, np.searchsorted(offsets, uppers).astype(np.int32)], axis=1)


def _hypernyms(line: str) -> Iterator[int]:
    """The hypernyms of the synset on a line of WordNet's data file.

    A line: offset file n count (lemma id)... pointers (symbol offset part ends)... | gloss; `count`
    is hexadecimal.
    """
    fields = line.split(" | ", 1)[0].split()
    first = 5 + 2 * int(fields[3], 16)
    pointers = zip(fields[first::4], fields[first + 1 :: 4], strict=False)
    return (int(offset) for symbol, offset in pointers if symbol in UPWARD)
