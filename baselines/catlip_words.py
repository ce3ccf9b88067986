"""CatLIP that reads all frequent words of a caption, not its nouns alone: the classes are CLIP's
subwords, and there is no WordNet.

Beside CatLIP it tells what reading nouns alone changes; beside SuperClass, which reads the same
subwords, what the binary loss changes.

    python -m baselines.pretrain --method catlip_words
"""

from catlip.categorical import Categorical


class WordCategorical(Categorical):
    """An image encoder, a linear classifier over frequent subwords, and binary cross-entropy."""

    name, label, colour, marker = "catlip_words", "CatLIP on all words", "#3f8fc4", "d"
    order, asks, reads = 3, "binary", "all words"
    needs = frozenset({"labels"})
    scores_captions = False
    classes = "subwords"
