"""Where classifiers start: at random, or at rows of the encoder's own classifier."""

from pathlib import Path

import pytest
import torch

from bench.downstream.probe.config import TransferOptions
from bench.downstream.probe.datasets import name_labels
from bench.downstream.probe.readouts import has_classifier, transfer_head
from catlip.encoders.load import load_encoder
from catlip.transfer_init.head import transfer_rows
from catlip.vocabulary import Vocabulary

CPU = torch.device("cpu")
LABELS = name_labels("folder", ("cat", "dog", "qwertz"))
OPTIONS = TransferOptions()


def test_encoder_without_a_vocabulary_has_no_classifier(untrained) -> None:
    for spelling in ("random:timm/test_vit", untrained("clip"), untrained("superclass")):
        assert not has_classifier(load_encoder(str(spelling), 0, CPU))


def transferred(spelling: object, labels=LABELS, options=OPTIONS, seed=0, **more):
    encoder = load_encoder(str(spelling), 0, CPU)
    return transfer_head(encoder, str(spelling), labels, options, seed, **more)


@pytest.mark.parametrize("end", ["", "/weights.safetensors"])
def test_transferred_head_has_the_rows_of_its_labels_nouns(make_run, end) -> None:
    run = make_run()
    classifier = load_encoder(str(run), 0, CPU).checkpoint.classifier
    head, origins = transferred(f"{run}{end}")
    assert [origin.kind for origin in origins] == ["exact", "exact", "random"]
    # The vocabulary begins with dog and cat.
    assert torch.equal(head.weight[:2], classifier["weight"][[1, 0]])
    assert head.bias.tolist() == [0, 0, 0]
    copied, _ = transferred(f"{run}{end}", copy_bias=True)
    assert torch.equal(copied.bias[:2], classifier["bias"][[1, 0]])


def test_similarity_and_seed_reach_the_head(make_run) -> None:
    run = make_run(synsets=("dog.n.01", "wolf.n.01", "animal.n.01", "plant.n.02"))
    classifier = load_encoder(str(run), 0, CPU).checkpoint.classifier
    vocabulary = Vocabulary.load(Path(f"{run}-vocabulary.json"))
    labels = name_labels("folder", ("canine", "organism", "cat", "qwertz"))
    head, _ = transferred(run, labels, TransferOptions(alpha=0.05), seed=3)
    rows = (classifier["weight"], classifier["bias"])
    expected = transfer_rows(*rows, vocabulary, labels, alpha=0.05, seed=3)
    assert torch.equal(head.weight, expected.weight)
    assert not torch.equal(head.weight, transferred(run, labels)[0].weight)
