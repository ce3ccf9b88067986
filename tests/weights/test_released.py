"""Released checkpoints are read weight for weight, and compute what their description says."""

import re

import pytest
import release
import torch
from safetensors.torch import save_file

from catlip.cli import InputError
from catlip.encoder import build_encoder
from catlip.range_augment import RangeAugment
from catlip.weights.checkpoint import read_checkpoint
from catlip.weights.released import detect_layout, split_parts

TASKS = tuple(release.PREFIXES)
PUBLISHED = [  # parameters, as published
    ("segmentation", "vit_b16_conv", 150, None),
    ("detection", "vit_b16_conv", 81, None),
    ("clip", "vit_b16_conv", 512, None),
    ("classification", "vit_b16_conv", 24_320, 104_657_414),
    ("classification", "vit_l16_conv", 24_320, 328_766_214),
    ("classification", "vit_h16_conv", 24_320, 663_152_646),
]


def on_meta(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Tensors without memory, of the types that a checkpoint has."""
    counts = {name: torch.long for name in shapes if name.endswith("num_batches_tracked")}
    return {
        name: torch.empty(shape, device="meta", dtype=counts.get(name))
        for name, shape in shapes.items()
    }


def parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    learnt = [name for name in shapes if "running_" not in name and "num_batches" not in name]
    return sum(torch.Size(shapes[name]).numel() for name in learnt)


@pytest.mark.parametrize(("task", "encoder", "num_classes", "published"), PUBLISHED)
def test_every_released_layout_is_understood_name_by_name(task, encoder, num_classes, published):
    shapes = release.checkpoint_shapes(task, *release.SIZES[encoder], num_classes)
    assert published in (None, parameters(shapes))
    weights = on_meta(shapes)
    layout = detect_layout(weights)
    assert (layout.encoder, layout.task, layout.num_classes) == (encoder, task, num_classes)
    assert layout.augmented is True
    parts = split_parts(weights, layout)
    with torch.device("meta"):
        build_encoder(encoder, 224, pool=layout.pool).load_state_dict(parts["encoder"], assign=True)
        RangeAugment().load_state_dict(parts["range_augment"], assign=True)
    assert sum(map(len, parts.values())) == len(shapes)


@pytest.mark.parametrize(
    ("task", "out_proj"), [(task, "out_proj_attn") for task in TASKS] + [("clip", "out_proj")]
)
@pytest.mark.parametrize("size", [(224, 224), (96, 256)])
def test_encoder_computes_what_the_description_says(task, out_proj, size, released_file):
    path = released_file(task, out_proj=out_proj)
    weights = {name: each.double() for name, each in torch.load(path, weights_only=True).items()}
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, *size, dtype=torch.float64, generator=generator)
    with torch.inference_mode():
        expected = release.features(weights, images, release.PREFIXES[task], out_proj)
        found = read_checkpoint(path).build().double()(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_scalars_of_range_augment_arrive(released_file) -> None:
    path = released_file()
    weights = torch.load(path, weights_only=True)
    learnt = RangeAugment()
    learnt.load_state_dict(read_checkpoint(path).range_augment)
    for name, end, least, most in (
        ("brightness", "low", 0.1, 0.9),
        ("brightness", "high", 1.1, 10),
        ("contrast", "low", 0.1, 0.9),
        ("contrast", "high", 1.1, 10),
        ("noise", "low", 0, 5e-5),
        ("noise", "high", 1e-4, 1),
    ):
        stored = weights[f"neural_augmentor.{name}._{end}"]
        expected = least + (most - least) / (1 + torch.exp(-stored))
        torch.testing.assert_close(learnt.ranges()[name][end], expected)


def spoil(name: str, value: torch.Tensor | None):
    return lambda weights: weights.pop(name) if value is None else weights.update({name: value})


@pytest.mark.parametrize("task", ["classification", "detection"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("transformer.1.pre_norm_ffn.4.bias", None),
        ("neural_augmentor.noise._low", None),
        ("transformer.1.pre_norm_ffn.7.bias", torch.zeros(128)),
        ("pos_embed.pos_embed.pos_embed", torch.zeros(1, 196, 128)),
        ("transformer.0.pre_norm_mha.0.weight", torch.ones(128, dtype=torch.int64)),
    ],
)
def test_weight_too_few_too_many_or_of_another_shape_is_named(task, name, value, released_file):
    path = released_file(task, spoil(release.PREFIXES[task] + name, value))
    with pytest.raises(InputError, match=re.escape(name)):
        read_checkpoint(path)


def test_released_weights_are_read_from_safetensors_too(released_file, tmp_path) -> None:
    weights = torch.load(released_file("clip"), weights_only=True)
    save_file(dict(weights), tmp_path / "released.safetensors")
    read = read_checkpoint(tmp_path / "released.safetensors")
    assert read.layout
    assert read.layout.task == "clip"
    assert torch.equal(read.classifier["proj"], weights["image_encoder.classifier.proj"])
    assert read.rest.keys() == {name for name in weights if name.startswith(("text_", "logit_"))}
