"""How a classifier on an encoder's features is initialised: at random, or from the pre-trained
classifier (Transfer Init, Section 4.2).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.downstream.encoders.load import LoadedEncoder
from bench.downstream.probe.config import TransferOptions
from catlip.cli import InputError
from catlip.encoder import linear_as_release
from catlip.recipes.base import Initialization
from catlip.record import read_record
from catlip.transfer_init import Origin
from catlip.transfer_init.head import transfer_rows
from catlip.vocabulary import Vocabulary, check_trained_on
from catlip.vocabulary.label_sets import LabelSet
from catlip.weights.checkpoint import Checkpoint

RELEASED_CLASSES = 24_320  # of the release's vocabulary


def random_head(
    num_features: int, num_classes: int, seed: int, initialization: Initialization = "own"
) -> nn.Linear:
    """A linear classifier as torch initialises it, or as the release does."""
    torch.manual_seed(seed)
    head = nn.Linear(num_features, num_classes)
    if initialization == "release":
        linear_as_release(head)
    return head


def transfer_head(
    encoder: LoadedEncoder, spelling: str, labels: LabelSet, options: TransferOptions, seed: int
) -> tuple[nn.Linear, Sequence[Origin]]:
    """A linear classifier over `labels`, made of the rows that pre-training learnt for the same
    nouns (random ones for labels without a class), and the origin of each row. The record beside
    the encoder's folder names the vocabulary.
    """
    if not has_classifier(encoder):
        raise InputError(
            f"{spelling} has no classifier over a vocabulary; Transfer Init needs one pre-trained "
            "by catlip"
        )
    assert encoder.checkpoint is not None, "it has a classifier"
    classifier = encoder.checkpoint.classifier
    head = transfer_rows(
        classifier["weight"],
        classifier["bias"],
        _vocabulary(encoder.checkpoint, spelling, options.vocabulary),
        labels=labels,
        alpha=options.alpha,
        ties=options.ties,
        bias_init=options.bias,
        scale=options.scale,
        seed=seed,
    )
    if not any(origin.matched for origin in head.origins):
        raise InputError(
            f"none of {labels.name}'s labels has a class at alpha {options.alpha:g}: no row to "
            "transfer"
        )
    linear = nn.Linear(head.weight.shape[1], len(head.bias))
    linear.load_state_dict({"weight": head.weight.float(), "bias": head.bias.float()})
    return linear, head.origins


def has_classifier(encoder: LoadedEncoder) -> bool:
    """Whether the encoder has the classifier over a vocabulary of its pre-training. SuperClass's
    does not count: it is over subwords.
    """
    checkpoint = encoder.checkpoint
    if checkpoint is None or {*checkpoint.classifier} != {"weight", "bias"}:
        return False
    if checkpoint.config.get("method") != "catlip" and "vocabulary" not in checkpoint.config:
        return False
    # Released checkpoints with other numbers of classes are fine-tuned.
    return checkpoint.layout is None or checkpoint.layout.num_classes == RELEASED_CLASSES


@torch.no_grad()
def on_standardised(head: nn.Linear, mean: Tensor, deviation: Tensor) -> nn.Linear:
    """The same classifier for features from which `mean` was subtracted and which were then divided
    by `deviation`, both [D].
    """
    changed = nn.Linear(head.in_features, head.out_features)
    mean, deviation = mean.cpu(), deviation.cpu()
    changed.weight.copy_(head.weight * deviation)
    changed.bias.copy_(head.bias + head.weight @ mean)
    return changed


def _vocabulary(checkpoint: Checkpoint, spelling: str, given: Path | None) -> Vocabulary:
    """The given vocabulary, or the one that the record beside the run's folder names."""
    path = given
    if path is None:
        folder = Path(spelling.removesuffix(":raw").removesuffix(".json"))
        folder = folder.parent if folder.suffix == ".safetensors" else folder
        record = folder.with_name(f"{folder.name}.json")
        if record.is_file():
            path = Path(str(read_record(record).get("config", {}).get("vocabulary", "")))
        if path is None or not path.is_file():
            raise InputError(
                f"the vocabulary that {spelling} was trained on is not known; give it by "
                "--vocabulary"
            )
    if path.suffix == ".pkl":
        return Vocabulary.from_release(path, len(checkpoint.classifier["bias"]))
    check_trained_on(path, checkpoint.config.get("vocabulary"), f"{spelling} was")
    return Vocabulary.load(path)
