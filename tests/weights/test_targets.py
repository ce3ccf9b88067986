"""What is written for timm and for the hub loads there, strictly, and computes the same."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import release
import timm
import torch
from safetensors.torch import load_file
from timm.data import resolve_model_data_config

from catlip.categorical import Categorical
from catlip.cli import InputError
from catlip.encoder import ENCODERS, STEMS, build_encoder
from catlip.training.checkpoint import save_weights
from catlip.weights import Checkpoint, read_checkpoint
from catlip.weights.targets import timm_model, to_ours, to_released, to_timm
from catlip.weights.write import write_folder, write_safetensors

CLASSES = 5


@pytest.fixture
def run_file(tmp_path: Path):
    """The weights that a run of an encoder leaves behind, at 64 pixels."""

    def save(name: str, resolution: int = 64) -> Path:
        torch.manual_seed(0)
        objective = Categorical(build_encoder(name, resolution), torch.full((CLASSES,), 0.1))
        for module in objective.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.running_var, 0.5, 2)
        config = {"encoder": name, "resolution": resolution, "method": "catlip", "seed": 3}
        save_weights(tmp_path / f"{name}.safetensors", objective.state_dict(), config)
        return tmp_path / f"{name}.safetensors"

    return save


def images(side: int) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def compute(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    return model.eval()(pixels)


def in_timm(checkpoint: Checkpoint, **arguments) -> torch.nn.Module:
    """timm's model, its stem brought along where timm has none."""
    name, own = timm_model(checkpoint)
    stem = ENCODERS[checkpoint.encoder_name].stem
    if stem != "patchify":
        own["embed_layer"] = STEMS[stem]
    return timm.create_model(name, **own, **arguments)


@pytest.mark.parametrize("name", ["vit_tiny16", "hybrid_mini", "conv_tiny"])
def test_timm_loads_a_run_strictly_and_computes_the_same(name, run_file, tmp_path) -> None:
    checkpoint = read_checkpoint(run_file(name))
    write_safetensors(tmp_path / "timm.safetensors", to_timm(checkpoint, 0))
    model = in_timm(checkpoint, num_classes=CLASSES)
    model.load_state_dict(load_file(tmp_path / "timm.safetensors"))
    features = compute(checkpoint.build(), images(64))
    logits = features @ checkpoint.classifier["weight"].T + checkpoint.classifier["bias"]
    torch.testing.assert_close(compute(model, images(64)), logits)
    again = read_checkpoint(tmp_path / "timm.safetensors")
    assert torch.equal(compute(again.build(), images(64)), features)


@pytest.mark.parametrize(
    ("name", "timms"),
    [
        ("vit_b16", "vit_base_patch16_224"),
        ("vit_l16", "vit_large_patch16_224"),
        ("vit_small16", "vit_small_patch16_224"),
    ],
)
def test_an_encoder_that_cuts_patches_is_timms_own_model(name, timms) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name, 224)
        model = timm.create_model(timms, num_classes=0)
    checkpoint = Checkpoint("ours", name, 224, "token", encoder.state_dict(), config={})
    assert timm_model(checkpoint) == (timms, {})
    written = {key: tensor.shape for key, tensor in to_timm(checkpoint, 0).tensors.items()}
    assert written == {key: tensor.shape for key, tensor in model.state_dict().items()}


def test_h16_is_timms_base_model_made_larger() -> None:
    with torch.device("meta"):
        encoder = build_encoder("vit_h16", 224)
        checkpoint = Checkpoint("ours", "vit_h16", 224, "token", encoder.state_dict())
        name, arguments = timm_model(checkpoint)
        model = timm.create_model(name, num_classes=0, **arguments)
        model.load_state_dict(to_timm(checkpoint, 0).tensors, assign=True)
    assert arguments["num_heads"] == 20


@pytest.mark.parametrize("task", ["classification", "segmentation", "clip"])
@pytest.mark.parametrize("resolution", [0, 160])
def test_timm_computes_what_the_release_does_at_the_resolution_converted_for(
    task, resolution, released_file
) -> None:
    path = released_file(task)
    weights, prefix = torch.load(path, weights_only=True), release.PREFIXES[task]
    converted = to_timm(read_checkpoint(path), resolution)
    checkpoint = replace(read_checkpoint(path), resolution=resolution or 224)
    model = in_timm(checkpoint, num_classes=0)
    headless = {name: t for name, t in converted.tensors.items() if not name.startswith("head.")}
    model.load_state_dict(headless)
    pixels = images(resolution or 224)
    expected = release.features(weights, pixels, prefix)
    torch.testing.assert_close(compute(model, pixels), expected, rtol=1e-4, atol=1e-4)


def test_what_timm_cannot_hold_is_dropped_by_name_and_for_a_reason(released_file) -> None:
    counts = {"classification": 6, "segmentation": 6 + 38, "detection": 6 + 89, "clip": 6 + 1 + 3}
    for task, expected in counts.items():
        source = torch.load(released_file(task), weights_only=True)
        converted = to_timm(read_checkpoint(released_file(task)), 0)
        dropped = [name for names in converted.dropped.values() for name in names]
        assert len(dropped) == len(set(dropped)) == expected == len(source) - len(converted.tensors)
        assert converted.config["dropped"] == converted.dropped
        assert all(converted.dropped)


@pytest.mark.parametrize("resolution", [0, 160])
def test_a_folder_for_the_hub_builds_the_released_encoder(
    resolution, released_file, tmp_path
) -> None:
    path = released_file(num_classes=CLASSES)
    weights = torch.load(path, weights_only=True)
    converted = to_timm(read_checkpoint(path), resolution)
    resized = replace(read_checkpoint(path), resolution=resolution or 224, config=converted.config)
    write_folder(tmp_path / "hub", resized, converted)
    source, stem = f"local-dir:{tmp_path / 'hub'}", {"embed_layer": STEMS["conv"]}
    pixels = images(resolution or 224)
    features = release.features(weights, pixels)
    encoder = timm.create_model(source, pretrained=True, num_classes=0, **stem)
    torch.testing.assert_close(compute(encoder, pixels), features, rtol=1e-4, atol=1e-4)
    logits = features @ weights["classifier.weight"].T + weights["classifier.bias"]
    whole = timm.create_model(source, pretrained=True, **stem)
    torch.testing.assert_close(compute(whole, pixels), logits, rtol=1e-4, atol=1e-4)
    config = resolve_model_data_config(encoder)
    assert (*config["mean"], *config["std"]) == (0, 0, 0, 1, 1, 1)
    assert tuple(config["input_size"]) == (3, resolution or 224, resolution or 224)
    assert (config["interpolation"], config["crop_mode"]) == ("bilinear", "center")
    assert int(config["input_size"][1] / config["crop_pct"]) == (resolution or 232)


@pytest.mark.parametrize("name", ["vit_tiny16", "hybrid_mini"])
def test_a_folder_of_a_run_builds_with_the_code_on_its_card(
    name, run_file, tmp_path, monkeypatch
) -> None:
    checkpoint = read_checkpoint(run_file(name))
    write_folder(tmp_path / "hub", checkpoint, to_timm(checkpoint, 0))
    card = (tmp_path / "hub" / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", card, re.S)
    scope: dict = {}
    exec(code[1].replace("FOLDER", str(tmp_path / "hub")), scope)
    built = compute(checkpoint.build(), images(64))
    torch.testing.assert_close(compute(scope["encoder"], images(64)), built)


def test_the_card_says_what_it_is_where_it_is_from_and_how_images_are_prepared(
    released_file, tmp_path
) -> None:
    checkpoint = read_checkpoint(released_file(num_classes=CLASSES))
    write_folder(tmp_path / "hub", checkpoint, to_timm(checkpoint, 0))
    card = (tmp_path / "hub" / "README.md").read_text()
    said = ("shorter side to 232", "a classifier over 5 classes", "license: other", "6 weights")
    for words in ("no mean is subtracted", *said):
        assert words in card
    assert checkpoint.config["source"]["sha256"] in card
    assert json.loads((tmp_path / "hub" / "config.json").read_text())["num_classes"] == CLASSES


def test_a_run_with_the_releases_stem_becomes_a_released_checkpoint(run_file) -> None:
    checkpoint = read_checkpoint(run_file("conv_tiny", 224))
    tensors = to_released(checkpoint).tensors
    expected = release.checkpoint_shapes("classification", 128, 2, CLASSES)
    for name in release.augmentor_shapes():
        del expected[name]
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == expected
    pixels, doubles = images(96).double(), {name: each.double() for name, each in tensors.items()}
    built = compute(checkpoint.build().double(), pixels)
    torch.testing.assert_close(release.features(doubles, pixels), built, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("name", "resolution"), [("vit_tiny16", 224), ("conv_tiny", 64)])
def test_the_release_has_no_other_encoder(name, resolution, run_file) -> None:
    with pytest.raises(InputError, match="224"):
        to_released(read_checkpoint(run_file(name, resolution)))


def test_a_released_checkpoint_needs_its_classifier(run_file) -> None:
    checkpoint = replace(read_checkpoint(run_file("conv_tiny", 224)), classifier={})
    with pytest.raises(InputError, match=r"classifier\.weight"):
        to_released(checkpoint)


def test_positions_are_resized_for_the_releases_stem_only(run_file) -> None:
    with pytest.raises(InputError, match="--resolution"):
        to_timm(read_checkpoint(run_file("vit_tiny16")), 128)
    with pytest.raises(InputError, match="multiple"):
        to_timm(read_checkpoint(run_file("conv_tiny")), 100)


def test_weights_that_share_memory_are_written_apart(tmp_path, run_file) -> None:
    checkpoint = read_checkpoint(run_file("vit_tiny16"))
    table = torch.rand(4, 4)
    tied = replace(checkpoint, rest={"text.embedding": table, "text.output": table})
    write_safetensors(tmp_path / "ours.safetensors", to_ours(tied))
    assert torch.equal(load_file(tmp_path / "ours.safetensors")["text.output"], table)
