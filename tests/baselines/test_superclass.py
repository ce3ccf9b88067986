"""SuperClass counts the subwords of captions: which, and when."""

import pytest

from baselines.idf import distinct_subwords
from baselines.openclip import END, START, CaptionTokenizer
from bench.measuring import methods
from bench.measuring.factors import Factors


def test_exclamation_mark_counts_though_its_token_is_that_of_padding() -> None:
    tokens = CaptionTokenizer(24)(["a dog !%", "a dog"])
    assert tokens[0, 3] == tokens[0, -1] == 0
    subwords, present = distinct_subwords(tokens)
    rows, values = subwords.rows()[present], subwords.values[present]
    assert [set(values[rows == row].tolist()) for row in (0, 1)] == [
        {0, *tokens[0, 1:5].tolist()},
        set(tokens[1, 1:3].tolist()),
    ]


@pytest.mark.parametrize("method", ["superclass", "catlip_softmax"])
def test_captions_are_counted_in_training_only(method) -> None:
    objective = methods.build(Factors(method, "hybrid_mini", 32, num_classes=10, seed=0))
    batch = methods.synthetic_batch(Factors("catlip", "hybrid_mini", 32, 4, num_classes=10), seed=0)
    objective.eval()(batch)
    assert objective.idf.captions_seen.item() == 0
    objective.train()(batch)
    assert objective.idf.captions_seen.item() == 4
    subwords = [{*caption} - {START, END} for caption in batch.tokens.tolist()]
    expected = 4 * 3 if objective.needs == {"labels"} else sum(map(len, subwords))
    assert objective.idf.captions_with.sum() == expected
