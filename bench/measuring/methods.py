"""Every method by name, on any encoder, and synthetic batches: what the cost benches time."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.methods import METHODS as TRAINED
from baselines.openclip import END, START, TwoTowers, rows_of_tokens, text_tower
from bench.measuring.factors import Factors, is_user_encoder
from bench.measuring.user_encoder import UserEncoder
from catlip.categorical import Categorical
from catlip.cli import InputError
from catlip.costs import FLOAT32, TEXT_VOCABULARY, StepShape, TextTower
from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import build_encoder
from catlip.objective import Objective

CPU = torch.device("cpu")
LABELS_PER_CAPTION = 3
# Tokens of a caption, START and END among them, in the mean: of the starter's names and keywords,
# by the context that goes with them, and of the sentences on the photographs of Flickr8k.
CAPTION_TOKENS, SENTENCE_TOKENS = {24: 8.3}, 14.0


class DenseCategorical(Categorical):
    """CatLIP with a dense [B, V] target, as the reference release computes it; the loss is the
    same.
    """

    name, label = "catlip_dense", "CatLIP, dense targets"

    def forward(self, batch: Batch) -> Tensor:
        assert batch.labels is not None, "the loader makes what `needs` names"
        logits = self.classifier(self.image_encoder(batch.images)).float()
        target = torch.zeros_like(logits)
        # A number on the device: torch 2.15 fills with one of Python's there as well, but earlier
        # versions copied it there in each forward pass.
        target[batch.labels.rows(), batch.labels.values] = target.new_ones(())
        return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(logits)

    def kept_bytes(self, step: StepShape) -> int:
        """Adds the dense target."""
        target = FLOAT32 * step.batch_size * self.classifier.out_features
        return super().kept_bytes(step) + target


METHODS: dict[str, type[Objective]] = TRAINED | {"catlip_dense": DenseCategorical}


def build(factors: Factors) -> Objective:
    """The objective; the same seed gives every method the same encoder weights."""
    torch.manual_seed(factors.seed)
    encoder: Any
    text_partner = factors.model
    if is_user_encoder(factors.model):
        if factors.checkpointing:
            raise InputError(f"--checkpointing: the blocks of {factors.model} are not known")
        encoder = UserEncoder(factors.model, factors.resolution)
        text_partner = encoder.text_partner
    else:
        encoder = build_encoder(
            factors.model,
            factors.resolution,
            attention=factors.attention,
            patch_drop_rate=factors.patch_drop_rate,
            checkpointing=factors.checkpointing,
        )
    base_rates = torch.full((factors.num_classes,), LABELS_PER_CAPTION / factors.num_classes)
    objective = METHODS[factors.method].build(encoder, text_partner, base_rates)
    if isinstance(objective, TwoTowers):
        if factors.text_context:
            objective.set_text_tower(objective.tower(text_partner, factors.text_context))
        if factors.packed_captions:
            objective.pack_captions()
        if factors.tokens_in_use < TEXT_VOCABULARY:
            tokens = torch.arange(TEXT_VOCABULARY, device="cpu")
            objective.share_rows(rows_of_tokens(tokens < factors.tokens_in_use - 2))
    return objective


def tower_of_context(model: str, text_context: int) -> TextTower:
    """The text tower that goes with the encoder; with another context unless that is 0."""
    if is_user_encoder(model):
        model = "vit_b16"  # every ViT's text tower has the same context
    return text_tower(model, text_context)


def synthetic_batch(factors: Factors, seed: int = 0, device: torch.device = CPU) -> Batch:
    """Random images (in the loader's memory layout), labels and tokens, on the device."""
    batch_size, num_classes = factors.batch_size, factors.num_classes
    context = tower_of_context(factors.model, factors.text_context).context
    generator = torch.Generator(device).manual_seed(seed)
    there: dict[str, Any] = {"device": device, "generator": generator}
    shape = batch_size, 3, factors.resolution, factors.resolution
    images = torch.randint(256, shape, dtype=torch.uint8, **there)
    images = images.contiguous(memory_format=torch.channels_last)
    each = min(LABELS_PER_CAPTION, num_classes)
    labels = torch.rand(batch_size, num_classes, **there).topk(each).indices
    offsets = torch.arange(0, each * batch_size + 1, each, device=device)
    tokens = torch.randint(1, factors.tokens_in_use - 2, (batch_size, context), **there)
    lengths = caption_lengths(batch_size, context, factors.caption_tokens)
    positions = torch.arange(context, device=device)
    ends = torch.tensor(lengths, device=device)[:, None] - 1
    tokens[:, 0] = START
    tokens = tokens.masked_fill(positions == ends, END).masked_fill(positions > ends, 0)
    keys = [str(i) for i in range(batch_size)]
    ragged = RaggedLabels(labels.flatten(), offsets)
    return Batch(images, keys, ragged, tokens=tokens, lengths=lengths)


def mean_caption_tokens(given: float, model: str, text_context: int = 0) -> float:
    """The mean length of synthetic captions that a user gives, or, for 0, the usual one."""
    context = tower_of_context(model, text_context).context
    if given and not 2 <= given <= context:
        raise InputError(f"--caption-tokens {given:g}: give 2 to {context} for {model}")
    return given or min(context, CAPTION_TOKENS.get(context, SENTENCE_TOKENS))


def caption_lengths(batch_size: int, context: int, mean: float) -> list[int]:
    """Tokens of each caption of a synthetic batch, evenly spaced around the mean, from START and
    END alone upwards; all `context` for a mean of 0.
    """
    mean = mean or context
    reach = min(mean - 2, context - mean)
    return [round(mean + reach * ((2 * i + 1) / batch_size - 1)) for i in range(batch_size)]
