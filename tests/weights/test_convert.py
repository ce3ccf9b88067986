"""What is written for timm and for the hub loads there, strictly, and computes the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import release
import timm
import torch
from safetensors.torch import load_file
from timm.data import resolve_model_data_config

from catlip.categorical import Categorical
from catlip.cli import InputError
from catlip.encoder import ENCODERS, STEMS, build_encoder
from catlip.records.record import read_record
from catlip.training.checkpoint import save_weights
from catlip.vocabulary import Vocabulary
from catlip.weights.__main__ import Convert
from catlip.weights.checkpoint import Checkpoint, read_checkpoint
from catlip.weights.convert import convert, timm_model, to_timm

CLASSES = 5
RECORDS = Path(__file__).parents[2] / "reports" / "records" / "starter"


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
    name, of_encoder = timm_model(checkpoint)
    stem = ENCODERS[checkpoint.encoder_name].stem
    if stem != "patchify":
        of_encoder["embed_layer"] = STEMS[stem]
    return timm.create_model(name, **of_encoder, **arguments)


@pytest.mark.parametrize("name", ["vit_tiny16", "hybrid_mini", "cnn", "conv_tiny"])
def test_timm_loads_a_run_strictly_and_computes_the_same(name, run_file, tmp_path) -> None:
    checkpoint = read_checkpoint(run_file(name))
    convert(Convert(run_file(name), tmp_path / "timm"))
    model = in_timm(checkpoint, num_classes=CLASSES)
    model.load_state_dict(load_file(tmp_path / "timm/model.safetensors"))
    features = compute(checkpoint.build(), images(64))
    logits = features @ checkpoint.classifier["weight"].T + checkpoint.classifier["bias"]
    torch.testing.assert_close(compute(model, images(64)), logits)
    again = read_checkpoint(tmp_path / "timm/model.safetensors")
    assert torch.equal(compute(again.build(), images(64)), features)


@pytest.mark.parametrize(
    ("name", "timms"),
    [
        ("vit_b16", "vit_base_patch16_224"),
        ("vit_l16", "vit_large_patch16_224"),
        ("vit_small16", "vit_small_patch16_224"),
    ],
)
def test_encoder_that_cuts_patches_is_timms_own_model(name, timms) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name, 224)
        model = timm.create_model(timms, num_classes=0)
    checkpoint = Checkpoint(name, 224, "token", encoder.state_dict(), config={})
    assert timm_model(checkpoint) == (timms, {})
    written = {key: tensor.shape for key, tensor in to_timm(checkpoint)[0].items()}
    assert written == {key: tensor.shape for key, tensor in model.state_dict().items()}


@pytest.mark.parametrize("task", ["classification", "segmentation", "clip"])
def test_timm_computes_what_the_release_does(task, released_file) -> None:
    path = released_file(task)
    weights, prefix = torch.load(path, weights_only=True), release.PREFIXES[task]
    checkpoint = read_checkpoint(path)
    tensors, _ = to_timm(checkpoint)
    model = in_timm(checkpoint, num_classes=0)
    headless = {name: t for name, t in tensors.items() if not name.startswith("head.")}
    model.load_state_dict(headless)
    pixels = images(224)
    expected = release.features(weights, pixels, prefix)
    torch.testing.assert_close(compute(model, pixels), expected, rtol=1e-4, atol=1e-4)


def test_folder_for_the_hub_builds_the_released_encoder(released_file, tmp_path) -> None:
    path, hub = released_file(num_classes=CLASSES), tmp_path / "hub"
    weights = torch.load(path, weights_only=True)
    convert(Convert(path, hub))
    source, stem = f"local-dir:{hub}", {"embed_layer": STEMS["conv"]}
    pixels = images(224)
    features = release.features(weights, pixels)
    encoder = timm.create_model(source, pretrained=True, num_classes=0, **stem)
    torch.testing.assert_close(compute(encoder, pixels), features, rtol=1e-4, atol=1e-4)
    logits = features @ weights["classifier.weight"].T + weights["classifier.bias"]
    whole = timm.create_model(source, pretrained=True, **stem)
    torch.testing.assert_close(compute(whole, pixels), logits, rtol=1e-4, atol=1e-4)
    config = resolve_model_data_config(encoder)
    assert (*config["mean"], *config["std"]) == (0, 0, 0, 1, 1, 1)
    assert tuple(config["input_size"]) == (3, 224, 224)
    assert (config["interpolation"], config["crop_mode"]) == ("bilinear", "center")
    assert int(config["input_size"][1] / config["crop_pct"]) == 232


def test_folder_of_a_run_has_its_records_its_classes_and_a_call_that_opens_it(
    run_file, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, hub = Path("pretrain/catlip-seed0"), Path("hub")
    run.mkdir(parents=True)
    run_file("hybrid_mini").rename(run / "weights.safetensors")
    for kind in ("pretrain", "linear_probe"):
        committed = RECORDS / kind / "catlip-seed0.json"
        Path(kind).mkdir(exist_ok=True)
        (Path(kind) / "catlip-seed0.json").write_bytes(committed.read_bytes())
    config = Convert(run, hub)
    convert(config)
    assert "get no names" in capsys.readouterr().out
    words = ("dog", "hat", "apple", "violin", "boat")
    captions = [word for times, word in enumerate(words, 2) for _ in range(times)]
    named = Path("runs/starter/vocabulary.json")  # in the record
    Vocabulary.from_captions(captions, top_k=CLASSES, rule="corenet").save(named)
    for given in (None, named):
        convert(replace(config, vocabulary=given))
        exec(capsys.readouterr().out.partition("open it by\n")[2], names := dict[str, Any]())
        built = names["model"]
        assert built.pretrained_cfg["label_names"] == [f"{word}.n.01" for word in words[::-1]]
        assert "member" in built.pretrained_cfg["label_descriptions"]["dog.n.01"]
    expected = compute(read_checkpoint(run / "weights.safetensors").build(), images(64))
    torch.testing.assert_close(compute(built, images(64)), expected)
    # The folder is read again like a file of weights.
    assert read_checkpoint(hub / "model.safetensors").encoder_name == "hybrid_mini"
    with pytest.raises(InputError, match=str(hub)):
        convert(Convert(hub, hub))
    card = (hub / "README.md").read_text()
    probe = read_record(RECORDS / "linear_probe" / "catlip-seed0.json")["metrics"]
    assert f"| concepts | {100 * probe['concepts_top1']:.1f} | 645 |" in card
    assert "| subgroups |" in card
    assert "138,848 images" in card


def test_vocabulary_of_classes_that_are_no_nouns_is_refused(released_file, tmp_path) -> None:
    hub = tmp_path / "hub"
    with pytest.raises(InputError, match="no classifier over a vocabulary"):
        convert(Convert(released_file(num_classes=CLASSES), hub, tmp_path / "v.json"))
    assert not hub.exists()
