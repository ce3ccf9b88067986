"""Any encoder opens by its spelling, and computes what its makers' code does on their pixels."""

import io
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from pictures import save
from PIL import Image
from safetensors.torch import save_file
from small_data import png
from timm.data import create_transform, resolve_model_data_config
from torchvision.transforms import functional as vision

from catlip.categorical import Categorical
from catlip.cli import InputError
from catlip.data.augment import centre_crop
from catlip.encoder import ENCODERS, Architecture, build_encoder
from catlip.encoders import load
from catlip.encoders.load import LoadedEncoder, load_encoder, open_encoder
from catlip.range_augment import AugmentedObjective, RangeAugment
from catlip.training import checkpoint
from catlip.training.checkpoint import save_weights
from catlip.weights.__main__ import Convert
from catlip.weights.convert import convert
from catlip.weights.released import Layout

CPU = torch.device("cpu")
CONFIG = {"encoder": "conv_tiny", "resolution": 224, "method": "catlip", "seed": 5}


@pytest.fixture(autouse=True)
def _a_small_released_encoder(monkeypatch) -> None:
    monkeypatch.setitem(ENCODERS, "conv_tiny", Architecture(128, 2, 2, stem="conv"))
    monkeypatch.setitem(load.RELEASED, "tiny", ("conv_tiny", "vit_tiny.pt"))


@pytest.fixture(scope="module")
def picture() -> bytes:
    """A PNG wider than high, with something in it everywhere."""
    grid = np.random.default_rng(0).integers(256, size=(13, 19, 3), dtype=np.uint8)
    return save(Image.fromarray(grid).resize((380, 260), Image.Resampling.BICUBIC), "PNG")


def objective(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    catlip = Categorical(build_encoder("conv_tiny", 224), torch.full((5,), 0.1))
    made = AugmentedObjective(catlip, RangeAugment())
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -1, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return made.eval()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose averaged weights have seed 2 and whose last raw ones have seed 1."""
    folder, average = tmp_path / "run", objective(2).state_dict()
    for step, seed in ((3, 3), (20, 1)):
        state = {"objective": objective(seed).state_dict(), "average": average}
        checkpoint.save(folder / "checkpoints", checkpoint.Head(step, CONFIG), state)
    save_weights(folder / "weights.safetensors", average, CONFIG)
    return folder


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A released checkpoint of the encoder with seed 2."""
    made = objective(2)
    parts = {
        "encoder": made.image_encoder.state_dict(),
        "classifier": made.objective.classifier.state_dict(),
        "range_augment": made.range_augment.state_dict(),
    }
    num_classes = len(parts["classifier"]["bias"])
    entries = Layout("conv_tiny", "classification", num_classes).entries()
    weights = {
        name: parts[entry.part][entry.name].reshape(entry.released_shape)
        for name, entry in entries.items()
    }
    torch.save(weights, tmp_path / "vit_tiny.pt")
    return tmp_path / "vit_tiny.pt"


@torch.inference_mode()
def features(encoder: LoadedEncoder, encoded: bytes) -> torch.Tensor:
    return encoder.module(encoder.preprocess(encoded)[None])


@torch.inference_mode()
def own_features(seed: int, pixels: torch.Tensor) -> torch.Tensor:
    return objective(seed).image_encoder(pixels[None])


@pytest.mark.parametrize(
    ("spelling", "seed", "method"),
    [("{}", 2, "catlip"), ("{}:raw", 1, "catlip:raw"), ("{}/weights.safetensors", 2, "catlip")],
)
def test_run_gives_its_average_or_its_raw_weights(spelling, seed, method, run, picture) -> None:
    encoder = open_encoder(spelling.format(run))
    pixels = torch.from_numpy(centre_crop(picture, 224)).permute(2, 0, 1)
    assert torch.equal(encoder.preprocess(picture), pixels)
    assert torch.equal(features(encoder, picture), own_features(seed, pixels))
    assert (encoder.method, encoder.pretrain_seed, encoder.resolution) == (method, 5, 224)


@pytest.mark.parametrize(("resolution", "resize", "side"), [(0, 232, 224), (160, 160, 160)])
def test_released_file_sees_the_releases_pixels(resolution, resize, side, released, picture):
    encoder = open_encoder(f"released:tiny:{released}", resolution=resolution)
    resized = vision.resize(Image.open(io.BytesIO(picture)), resize)
    left, top = ((extent - side) // 2 for extent in resized.size)  # the release floors
    pixels = vision.pil_to_tensor(resized.crop((left, top, left + side, top + side)))
    assert torch.equal(encoder.preprocess(picture), pixels)
    assert torch.equal(features(encoder, picture), own_features(2, pixels))
    assert encoder.method == "released:tiny:vit_tiny"
    about = f"shorter side to {resize} (bilinear), central {side}; pixels in [0, 1]"
    assert str(encoder.preprocess) == about


def test_converted_weights_keep_their_preprocessing(released, tmp_path, picture) -> None:
    convert(Convert(released, tmp_path / "timm"))
    found = open_encoder(str(tmp_path / "timm"))
    expected = open_encoder(f"released:tiny:{released}")
    assert torch.equal(found.preprocess(picture), expected.preprocess(picture))
    assert torch.equal(features(found, picture), features(expected, picture))
    assert found.method == "released:conv_tiny"


def test_released_file_is_fetched_once(released, tmp_path, monkeypatch, picture) -> None:
    monkeypatch.setattr(load, "ADDRESS", f"{released.parent.as_uri()}/")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(InputError, match=r"conv_tiny.*vit_b16_conv"):
        open_encoder(f"released:vit_b16:{released}")
    first = open_encoder("released:tiny")
    released.unlink()
    assert torch.equal(features(first, picture), features(open_encoder("released:tiny"), picture))
    monkeypatch.setattr(load, "ADDRESS", "http://127.0.0.1:9/")  # where nobody answers
    with pytest.raises(InputError, match="released:vit_b16:FILE"):
        open_encoder("released:vit_b16")


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_model_of_timms_computes_what_timm_does_on_timms_pixels(name, picture) -> None:
    encoder = open_encoder(f"random:timm/{name}", seed=3)
    torch.manual_seed(3)
    model = timm.create_model(name, num_classes=0).eval()
    transform = create_transform(**resolve_model_data_config(model))
    with torch.inference_mode():
        expected = model(transform(Image.open(io.BytesIO(picture)))[None])
    torch.testing.assert_close(features(encoder, picture), expected, rtol=1e-4, atol=1e-5)
    assert (encoder.method, encoder.pretrain_seed) == (f"random:timm/{name}", 3)


def test_model_of_timms_takes_exactly_the_weights_of_a_file(tmp_path, picture) -> None:
    torch.manual_seed(7)
    trained = timm.create_model("test_vit")
    save_file(trained.state_dict(), tmp_path / "trained.safetensors")
    encoder = open_encoder(f"timm:test_vit:{tmp_path / 'trained.safetensors'}", seed=1)
    assert encoder.method == "timm:test_vit:trained"
    transform = create_transform(**resolve_model_data_config(trained))
    with torch.inference_mode():
        tokens = trained.eval().forward_features(transform(Image.open(io.BytesIO(picture)))[None])
        expected = trained.forward_head(tokens, pre_logits=True)
    torch.testing.assert_close(features(encoder, picture), expected, rtol=1e-4, atol=1e-5)
    more = trained.state_dict() | {"extra": torch.zeros(2)}
    fewer = {name: tensor for name, tensor in trained.state_dict().items() if name != "norm.weight"}
    for weights, says in ((fewer, "norm.weight"), (more, "extra")):
        save_file(weights, tmp_path / "other.safetensors")
        with pytest.raises(InputError, match=says):
            open_encoder(f"timm:test_vit:{tmp_path / 'other.safetensors'}")


@pytest.mark.parametrize("name", ["ViT-S-32", "RN50"])
def test_image_tower_of_openclip_computes_what_openclip_does(name, picture) -> None:
    encoder = open_encoder(f"random:openclip/{name}", seed=3)
    torch.manual_seed(3)
    model, _, transform = open_clip.create_model_and_transforms(name)
    with torch.inference_mode():
        expected = model.eval().encode_image(transform(Image.open(io.BytesIO(picture)))[None])
    found = features(encoder, picture)
    if name == "ViT-S-32":
        assert found.shape == (1, 384)
        found = found @ model.visual.proj.detach()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


# At other sizes than they were pre-trained on


@pytest.mark.parametrize(
    ("spelling", "resolution", "features", "any_size"),
    [
        ("random:vit_tiny16@32", 96, 192, True),
        ("{run}", 64, 128, True),
        ("random:timm/vit_tiny_patch16_224", 64, 192, True),
        ("random:timm/mixer_s32_224", 0, 512, False),
        ("random:openclip/ViT-S-32", 64, 384, False),
        ("random:openclip/RN50", 96, 1024, False),
    ],
)
def test_other_sizes_are_taken_where_it_says_so(spelling, resolution, features, any_size, make_run):
    encoder = load_encoder(spelling.format(run=make_run()), 0, CPU, resolution)
    image = encoder.preprocess(png(100, 0, (300, 260)))
    assert image.shape == (3, encoder.resolution, encoder.resolution)
    if resolution:
        assert encoder.resolution == resolution
        assert f"{resolution}" in str(encoder.preprocess)
    assert encoder.num_features == features
    other = torch.zeros(2, 3, encoder.resolution + 32, encoder.resolution + 32, dtype=torch.uint8)
    with torch.inference_mode():
        assert encoder.module(image[None]).shape == (1, features)
        assert encoder.any_size == any_size
        if any_size:
            assert encoder.module(other).shape == (2, features)
        else:
            with pytest.raises((RuntimeError, AssertionError)):
                encoder.module(other)


def test_a_function_of_ones_own_file_is_an_encoder(tmp_path, picture) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n"
        "class Channels(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        return images.mean((2, 3))\n"
        "def build():\n"
        "    return Channels(), {'size': 64, 'mean': (0.5, 0.4, 0.3), 'std': (0.2, 0.2, 0.2)}\n"
    )
    encoder = open_encoder(f"{file}:build")
    pixels = encoder.preprocess(picture)
    assert (encoder.method, pixels.shape, encoder.num_features) == ("mine.py:build", (3, 64, 64), 3)
    means = (pixels.double().mean((1, 2)) / 255 - torch.tensor([0.5, 0.4, 0.3])) / 0.2
    torch.testing.assert_close(
        encoder.module(pixels[None])[0].double(), means, rtol=1e-4, atol=1e-5
    )


def test_a_vision_model_of_transformers_gives_its_own_features(tmp_path, picture) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
    )
    model = transformers.ViTModel(config).eval()
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    encoder = open_encoder(f"transformers:{tmp_path}")
    pixels = encoder.preprocess(picture)
    with torch.no_grad():
        theirs = model(pixel_values=pixels[None] / 255 * 2 - 1).pooler_output
        torch.testing.assert_close(encoder.module(pixels[None]), theirs, rtol=1e-4, atol=1e-5)
