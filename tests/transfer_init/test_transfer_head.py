"""The head's rows and its bias, and what it says of an image."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_data import vocabulary_of

from catlip.cli import InputError
from catlip.transfer_init.head import transfer_rows
from catlip.vocabulary.label_sets import LabelSet, label_set, synsets_of

WIDTH = 64
WORDS = ("dog", "cat", "kitchen", "restaurant", "oven", "stove", "sandwich")
CLASSES = tuple(f"{word}.n.01" for word in WORDS)
NAMES = ("dog", "cat", "restaurant_kitchen", "hot dog", "archaeological_excavation", "volcano")


@pytest.fixture
def vocabulary():
    return vocabulary_of(*CLASSES)


@pytest.fixture
def labels():
    synsets = {name: synsets_of(name) for name in NAMES} | {"hot dog": synsets_of("hotdog.n.02")}
    return LabelSet("test", NAMES, tuple(synsets.values()))


def classifier(num_classes, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(num_classes, WIDTH, generator=generator)
    bias = torch.randn(num_classes, generator=generator) - 8
    return weight.to(dtype), bias.to(dtype)


def class_id(vocabulary, name):
    return [synset.name for synset in vocabulary.synsets].index(f"{name}.n.01")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_exact_and_near_rows_are_the_classifiers_bit_for_bit(vocabulary, labels, dtype):
    weight, bias = classifier(len(vocabulary), dtype)
    head = transfer_rows(weight, bias, vocabulary, labels, copy_bias=True)
    assert head.weight.dtype == head.bias.dtype == dtype
    kinds = [origin.kind for origin in head.origins]
    assert kinds == ["exact", "exact", "mean", "near", "random", "random"]
    for label_id, name in ((0, "dog"), (1, "cat"), (3, "sandwich")):
        assert torch.equal(head.weight[label_id], weight[class_id(vocabulary, name)])
        assert head.bias[label_id] == bias[class_id(vocabulary, name)]
    parts = [class_id(vocabulary, name) for name in ("restaurant", "kitchen")]
    torch.testing.assert_close(head.weight[2], weight[parts].double().mean(0).to(dtype))
    torch.testing.assert_close(head.bias[2], bias[parts].double().mean().to(dtype))


@given(seed=st.integers(0, 5))
def test_head_does_not_depend_on_the_order_of_the_classes(seed):
    vocabulary = vocabulary_of(*CLASSES)
    weight, bias = classifier(len(vocabulary), seed=seed)
    order = torch.randperm(len(vocabulary), generator=torch.Generator().manual_seed(seed))
    turned = replace(vocabulary, synsets=tuple(vocabulary.synsets[i] for i in order))
    one = transfer_rows(weight, bias, vocabulary, label_set("coco"), copy_bias=True)
    turned_classifier = (weight[order], bias[order])
    other = transfer_rows(*turned_classifier, turned, label_set("coco"), copy_bias=True)
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)


def test_random_rows_are_those_of_a_fresh_layer():
    vocabulary = vocabulary_of("dog.n.01", "entity.n.01")
    weight, bias = torch.randn(2, 256), torch.zeros(2)
    strict = transfer_rows(weight, bias, vocabulary, label_set("imagenet"), alpha=1.0)
    loose = transfer_rows(weight, bias, vocabulary, label_set("imagenet"), alpha=0.2)
    random = torch.tensor([origin.kind == "random" for origin in loose.origins])
    assert 0 < random.sum() < 1000
    assert torch.equal(strict.weight[random], loose.weight[random])
    fresh = torch.nn.Linear(256, 1000).weight
    assert strict.weight.abs().max() <= 1 / 16
    assert strict.weight.std().item() == pytest.approx(fresh.std().item(), rel=0.02)
    again = transfer_rows(weight, bias, vocabulary, label_set("imagenet"), alpha=1.0, seed=1)
    assert not torch.equal(again.weight, strict.weight)


def test_bias_is_copied_or_zero(vocabulary, labels):
    weight, bias = classifier(len(vocabulary))
    copied = transfer_rows(weight, bias, vocabulary, labels, copy_bias=True)
    zero = transfer_rows(weight, bias, vocabulary, labels)
    torch.testing.assert_close(copied.bias[4:], copied.bias[:4].mean().expand(2))
    assert torch.equal(zero.bias, torch.zeros(6))
    assert torch.equal(copied.weight, zero.weight)


@pytest.mark.parametrize(
    "shapes", [((6, WIDTH), (6,)), ((7, WIDTH), (6,)), ((WIDTH,), (7,)), ((7, WIDTH), (7, 1))]
)
def test_classifier_over_other_classes_is_refused(vocabulary, labels, shapes):
    weight, bias = map(torch.zeros, shapes)
    with pytest.raises(InputError, match=r"\b7\b"):
        transfer_rows(weight, bias, vocabulary, labels)
