"""CLIP here is OpenCLIP's CLIP, on our encoder and batches."""

import pytest
import torch
import torch.nn.functional as F

from baselines.openclip import TEXT_TOWERS, CaptionTokenizer, Contrastive, text_tower
from bench.methods import synthetic_batch
from catlip.cli import InputError
from catlip.encoder import ENCODERS, build_encoder
from catlip.objective import Objective


def test_the_loss_is_the_symmetric_cross_entropy_of_the_similarities() -> None:
    torch.manual_seed(0)
    objective = Contrastive(build_encoder("hybrid_tiny", 32), text_tower("hybrid_tiny")).eval()
    batch = synthetic_batch(6, "hybrid_tiny", 32, num_classes=10, seed=0)
    image = objective.projection(objective.image_encoder(batch.images))
    text = objective.text_encoder(batch.tokens)
    similarity = F.cosine_similarity(image[:, None], text[None], dim=-1) / 0.07
    right = torch.arange(6)
    expected = (F.cross_entropy(similarity, right) + F.cross_entropy(similarity.T, right)) / 2
    torch.testing.assert_close(objective(batch), expected)
    assert isinstance(objective, Objective)


def test_the_published_text_towers_have_the_published_parameters() -> None:
    with torch.device("meta"):
        encoder = build_encoder("vit_b16", 224)
    objective = Contrastive(encoder, text_tower("vit_b16"))
    text = sum(p.numel() for p in objective.text_encoder.parameters())
    assert text == 63_428_096


def test_every_encoder_has_a_text_tower() -> None:
    assert ENCODERS.keys() == TEXT_TOWERS.keys()
    with pytest.raises(InputError, match="vit_b16"):
        text_tower("resnet50")


def test_captions_are_cleaned_as_for_labelling_before_they_are_tokenized() -> None:
    tokenize = CaptionTokenizer(32)
    tokens = tokenize(["A+dog%20<b>runs</b>", "a dog runs", ""])
    assert tokens.shape == (3, 32)
    assert tokens.dtype == torch.int64
    assert torch.equal(tokens[0], tokens[1])
    assert tokens[2].count_nonzero() == 2


def test_a_huge_temperature_is_capped() -> None:
    objective = Contrastive(build_encoder("hybrid_tiny", 32), text_tower("hybrid_tiny"))
    batch = synthetic_batch(4, "hybrid_tiny", 32, num_classes=10, seed=0)
    with torch.no_grad():
        objective.logit_scale.fill_(50.0)
    assert torch.isfinite(objective(batch))
