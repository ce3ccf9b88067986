"""How a method is trained: its objective, initialised as the recipe says, and its classes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from catlip.cli import InputError
from catlip.data.loader import LabelSource
from catlip.data.shard_set import ShardSet
from catlip.encoder import ImageEncoder, build_encoder, init_encoder_as_release
from catlip.objective import Objective
from catlip.pretraining.config import PretrainRun
from catlip.range_augment import AugmentedObjective, RangeAugment
from catlip.recipes.base import ImageRecipe
from catlip.recipes.pretrain import Recipe
from catlip.vocabulary import Vocabulary, vocabulary_identity
from catlip.vocabulary.sample_labels import VocabularyLabels

RELEASED_CLASSES = 24_320  # what a dry run without a vocabulary assumes
UNKNOWN_LABELS_PER_CAPTION = 3  # about as many as a DataComp caption has


@dataclass(frozen=True)
class Classes:
    """The classes of a method that classifies: the fraction of captions that name each ([V]), the
    vocabulary's part of the run's identity, and labels of samples (None in a dry run).
    """

    base_rates: Tensor
    identity: dict[str, Any]
    labels: LabelSource | None


@dataclass(frozen=True)
class Method:
    """Makes the objective, once the seed is set; and the labels and tokens that it needs. `fit`
    changes the objective for the shards, and returns what of that belongs to the run's identity.
    """

    build: Callable[[], Objective]
    classes: Classes | None = None
    tokenize: Callable[[list[str]], Tensor] | None = None
    fit: Callable[[Objective, ShardSet], dict[str, Any]] = lambda objective, shards: {}


def classes_of(config: PretrainRun) -> Classes:
    """The classes of the run's vocabulary; a dry run needs none."""
    if config.vocabulary is None:
        if not config.dry_run:
            shards = "" if config.shards else "--shards, "
            raise InputError(
                f"missing: {shards}--vocabulary (a file made by python -m catlip.vocabulary)"
            )
        equal = UNKNOWN_LABELS_PER_CAPTION / RELEASED_CLASSES
        return Classes(torch.full((RELEASED_CLASSES,), equal), identity={}, labels=None)
    vocabulary = Vocabulary.load(config.vocabulary)
    return Classes(
        base_rates_of(vocabulary),
        {"vocabulary": vocabulary_identity(config.vocabulary), "num_classes": len(vocabulary)},
        VocabularyLabels(config.labels_dir, vocabulary),
    )


def base_rates_of(vocabulary: Vocabulary) -> Tensor:
    """[V] float32, the fraction of captions that name each class; equal if it is unknown."""
    if vocabulary.source.captions is None:
        return torch.full((len(vocabulary),), UNKNOWN_LABELS_PER_CAPTION / len(vocabulary))
    counts = torch.tensor([synset.count for synset in vocabulary.synsets], dtype=torch.float64)
    return (counts / vocabulary.source.captions).clamp(1e-8, 0.5).float()


def encoder_of(recipe: Recipe) -> ImageEncoder:
    encoder = build_encoder(
        recipe.encoder,
        recipe.resolution,
        attention=recipe.attention,
        drop_path=recipe.drop_path,
        patch_drop_rate=recipe.patch_drop_rate,
        checkpointing=recipe.checkpointing,
    )
    if recipe.initialization == "release":
        init_encoder_as_release(encoder)
    return encoder


def apply_recipe_start(objective: Objective, recipe: Recipe) -> Objective:
    """The objective, with temperature and bias set to the recipe's initial values, if any."""
    for name in ("temperature", "logit_bias"):
        if getattr(recipe, name) is not None and name not in objective.starts:
            raise InputError(f"--{name.replace('_', '-')}: {objective.label} has no such parameter")
    if recipe.temperature is not None:
        nn.init.constant_(objective.get_parameter("logit_scale"), -math.log(recipe.temperature))
    if recipe.logit_bias is not None:
        nn.init.constant_(objective.get_parameter("logit_bias"), recipe.logit_bias)
    return objective


def add_range_augment(objective: Objective, recipe: ImageRecipe) -> Objective:
    """The objective on images augmented by RangeAugment, if the recipe has it."""
    if not recipe.range_augment:
        return objective
    start, end = recipe.range_augment
    return AugmentedObjective(objective, RangeAugment((start, end)))
