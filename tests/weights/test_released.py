"""Released checkpoints are read weight for weight, and compute what their description says."""

import re
from dataclasses import replace

import pytest
import release
import torch
from safetensors.torch import load_file

from catlip.categorical import Categorical
from catlip.cli import InputError
from catlip.encoder import build_encoder
from catlip.range_augment import Augmented, RangeAugment
from catlip.weights import read_checkpoint
from catlip.weights.released import faults, find_layout, join, split
from catlip.weights.targets import to_ours, to_released
from catlip.weights.write import write_archive, write_safetensors

TASKS = tuple(release.PREFIXES)
PUBLISHED = [  # parameters, as published
    ("classification", "vit_b16_conv", 24_320, 104_657_414),
    ("classification", "vit_l16_conv", 24_320, 328_766_214),
    ("classification", "vit_h16_conv", 24_320, 663_152_646),
    ("segmentation", "vit_b16_conv", 150, 98_751_644),
    ("segmentation", "vit_l16_conv", 150, 320_435_356),
    ("segmentation", "vit_h16_conv", 150, 652_396_700),
    ("detection", "vit_b16_conv", 81, 111_559_099),
    ("detection", "vit_l16_conv", 81, 331_686_907),
    ("detection", "vit_h16_conv", 81, 662_682_171),
]
ROUNDED = [  # in millions
    *[("vit_b16_conv", n, million) for n, million in ((1000, 86.72), (365, 86.24), (80, 86.02))],
    *[("vit_l16_conv", n, million) for n, million in ((1000, 304.86), (365, 304.21), (80, 303.92))],
    *[("vit_h16_conv", n, million) for n, million in ((1000, 633.28), (365, 632.47), (80, 632.10))],
]


def on_meta(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Tensors without memory, of the types that a checkpoint has."""
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    for name in shapes:
        if name.endswith("num_batches_tracked"):
            weights[name] = weights[name].long()
    return weights


def parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    learnt = [name for name in shapes if "running_" not in name and "num_batches" not in name]
    return sum(torch.Size(shapes[name]).numel() for name in learnt)


@pytest.mark.parametrize(("task", "encoder", "num_classes", "published"), PUBLISHED)
def test_every_released_layout_is_understood_name_by_name(
    task, encoder, num_classes, published
) -> None:
    shapes = release.checkpoint_shapes(task, *release.SIZES[encoder], num_classes)
    assert parameters(shapes) == published
    weights = on_meta(shapes)
    layout = find_layout(weights)
    assert (layout.encoder, layout.task, layout.num_classes) == (encoder, task, num_classes)
    assert layout.augmented is True
    assert faults(weights, layout) == []
    parts = split(weights, layout)
    with torch.device("meta"):
        build_encoder(encoder, 224, pool=layout.pool).load_state_dict(parts["encoder"], assign=True)
        RangeAugment().load_state_dict(parts["range_augment"], assign=True)
    again = join(parts, layout)
    assert {name: tuple(tensor.shape) for name, tensor in again.items()} == shapes


@pytest.mark.parametrize(("encoder", "num_classes", "million"), ROUNDED)
def test_fine_tuned_classifiers_are_understood(encoder, num_classes, million) -> None:
    shapes = release.checkpoint_shapes("classification", *release.SIZES[encoder], num_classes)
    assert round(parameters(shapes) / 1e6, 2) == million
    weights = on_meta(shapes)
    assert faults(weights, find_layout(weights)) == []


def test_the_pre_training_checkpoint_of_b_has_170_weights() -> None:
    shapes = release.checkpoint_shapes("classification", *release.SIZES["vit_b16_conv"], 24_320)
    assert len(shapes) == 170


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("out_proj", ["out_proj_attn", "out_proj"])
def test_there_and_back_is_the_identity(task, out_proj, released_file, tmp_path) -> None:
    source = released_file(task, out_proj=out_proj)
    write_safetensors(tmp_path / "ours.safetensors", to_ours(read_checkpoint(source)))
    ours = read_checkpoint(tmp_path / "ours.safetensors")
    assert ours.kind == "ours"
    write_archive(tmp_path / "back.pt", to_released(ours))
    before, after = (torch.load(path, weights_only=True) for path in (source, tmp_path / "back.pt"))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
        assert after[name].dtype == tensor.dtype, name


def test_the_released_file_itself_is_read_from_safetensors_too(released_file, tmp_path) -> None:
    weights = torch.load(released_file(), weights_only=True)
    path, converted = tmp_path / "released.safetensors", to_ours(read_checkpoint(released_file()))
    write_safetensors(path, replace(converted, tensors=dict(weights), config={}))
    assert read_checkpoint(path).kind == "released"


@pytest.mark.parametrize(
    ("task", "out_proj"), [(task, "out_proj_attn") for task in TASKS] + [("clip", "out_proj")]
)
@pytest.mark.parametrize("size", [(224, 224), (160, 160), (96, 256)])
def test_the_encoder_computes_what_the_description_says(
    task, out_proj, size, released_file
) -> None:
    path = released_file(task, out_proj=out_proj)
    weights = {name: each.double() for name, each in torch.load(path, weights_only=True).items()}
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, *size, dtype=torch.float64, generator=generator)
    with torch.inference_mode():
        expected = release.features(weights, images, release.PREFIXES[task], out_proj)
        found = read_checkpoint(path).build().double()(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_vit_b_computes_what_the_description_says() -> None:
    weights = release.checkpoint("classification", *release.SIZES["vit_b16_conv"])
    images = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    with torch.device("meta"):
        encoder = build_encoder("vit_b16_conv", 224)
    encoder.load_state_dict(split(weights, find_layout(weights))["encoder"], assign=True)
    with torch.inference_mode():
        found, expected = encoder.eval()(images), release.features(weights, images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-4)


def test_the_scalars_of_range_augment_arrive(released_file) -> None:
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


def test_the_whole_objective_loads_what_is_written_for_it(released_file, tmp_path) -> None:
    path = tmp_path / "ours.safetensors"
    source = released_file(num_classes=7)
    write_safetensors(path, to_ours(read_checkpoint(source)))
    categorical = Categorical(build_encoder("conv_tiny", 224), torch.full((7,), 0.1))
    Augmented(categorical, RangeAugment()).load_state_dict(load_file(path))
    released = torch.load(source, weights_only=True)
    assert torch.equal(categorical.classifier.weight, released["classifier.weight"])


def spoil(name: str, value: torch.Tensor | None):
    return lambda weights: weights.pop(name) if value is None else weights.update({name: value})


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("transformer.1.pre_norm_ffn.4.bias", None),
        ("patch_emb.0.block.norm.running_var", None),
        ("neural_augmentor.noise._low", None),
        ("transformer.1.pre_norm_ffn.7.bias", torch.zeros(128)),
        ("post_transformer_norm.weight", torch.zeros(64)),
        ("pos_embed.pos_embed.pos_embed", torch.zeros(1, 196, 128)),
        ("patch_emb.1.block.norm.num_batches_tracked", torch.tensor(1.0)),
        ("transformer.0.pre_norm_mha.0.weight", torch.ones(128, dtype=torch.int64)),
    ],
)
def test_a_weight_too_few_too_many_or_of_another_shape_is_named(
    task, name, value, released_file
) -> None:
    path = released_file(task, spoil(release.PREFIXES[task] + name, value))
    with pytest.raises(InputError, match=re.escape(name)):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("classification", "classifier.bias"),
        (
            "segmentation",
            "seg_head.aspp.aspp_layer.convs.4.aspp_pool.conv_1x1.block.norm.running_mean",
        ),
        ("segmentation", "seg_head.classifier.block.conv.weight"),
        ("detection", "model.backbone.encoder.simple_fpn.out_l2.0.block.conv.bias"),
        ("detection", "model.roi_heads.mask_predictor.3.block.conv.bias"),
        ("clip", "image_encoder.classifier.proj"),
    ],
)
def test_a_head_that_is_not_whole_is_refused(task, name, released_file) -> None:
    with pytest.raises(InputError, match=re.escape(name)):
        read_checkpoint(released_file(task, spoil(name, None)))


def test_a_class_token_where_the_release_has_none_is_refused(released_file) -> None:
    extra = spoil("encoder.cls_token", torch.zeros(1, 1, 128))
    with pytest.raises(InputError, match=r"encoder\.cls_token"):
        read_checkpoint(released_file("segmentation", extra))


def test_an_encoder_of_another_size_is_refused_with_its_size(tmp_path) -> None:
    torch.save(release.checkpoint("classification", 64, 1), tmp_path / "small.pt")
    with pytest.raises(InputError, match=r"\b64 .*\b1 .*vit_b16_conv \(768 x 12\)"):
        read_checkpoint(tmp_path / "small.pt")


def test_the_releases_trainer_file_gives_its_averaged_weights(tmp_path) -> None:
    raw, averaged = (
        release.checkpoint("classification", *release.TINY, seed=seed) for seed in (1, 2)
    )
    file = {"iterations": 5, "epoch": 1, "best_metric": 0.5}
    file |= {"model_state_dict": raw, "optim_state_dict": {"state": {}}}
    for content, expected in ((file | {"ema_state_dict": averaged}, averaged), (file, raw)):
        torch.save(content, tmp_path / "last.pt")
        classifier = read_checkpoint(tmp_path / "last.pt").classifier
        assert torch.equal(classifier["weight"], expected["classifier.weight"])
