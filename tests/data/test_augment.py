"""Crops are as torchvision draws them, from the position alone; headers refuse bad pictures."""

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import hflip, resized_crop
from written_png import png

from bench.data_path.photographs import cut, shipped_photographs
from catlip.cli import InputError
from catlip.data import decode, jpeg
from catlip.data.augment import DRAWS, Augmentation, centre_crop, crop_box, draws_at, random_crop
from catlip.data.decode import open_picture


def encoded(width: int, height: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise, "RGBA").convert(mode).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photographs() -> list[bytes]:
    return cut(shipped_photographs(), 40, seed=1)


def test_draws_are_reached_without_drawing_those_before() -> None:
    assert (draws_at(1, 0, 50)[20:] == draws_at(1, 20, 30)).all()
    assert not (draws_at(1, 0, 1) == draws_at(2, 0, 1)).any()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (300, 200), (100, 500)])
def test_crops_are_distributed_as_torchvision_draws_them(width, height) -> None:
    augmentation = Augmentation(crop_scale=(0.2, 1.0))
    boxes = [crop_box(width, height, augmentation, draws) for draws in draws_at(0, 0, 4000)]
    ours = np.array(boxes)
    torch.manual_seed(0)
    image, drawn = torch.zeros(3, height, width), RandomResizedCrop.get_params
    theirs = [drawn(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    boxes = np.array([(left, top, left + w, top + h) for top, left, h, w in theirs])
    for column in range(4):
        spread = boxes[:, column].std() + 1
        assert abs(ours[:, column].mean() - boxes[:, column].mean()) < 0.1 * spread
        assert ours[:, column].std() == pytest.approx(boxes[:, column].std(), rel=0.08, abs=0.5)
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 2:] <= [width, height]).all()
    assert (ours[:, 2:] > ours[:, :2]).all()


def as_torchvision_does(
    picture: bytes, resolution: int, augmentation: Augmentation, draws: np.ndarray
) -> np.ndarray:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    left, top, right, bottom = crop_box(*image.size, augmentation, draws)
    image = resized_crop(image, top, left, bottom - top, right - left, [resolution, resolution])
    return np.asarray(hflip(image) if draws[-1] < augmentation.flip else image).astype(int)


@pytest.mark.parametrize("resolution", [128, 224, 320])
def test_crops_of_photographs_are_torchvisions_within_two_grey_levels(
    photographs, resolution
) -> None:
    gaps = []
    for picture, draws in zip(photographs, draws_at(0, 0, len(photographs)), strict=True):
        arguments = (picture, resolution, Augmentation(), draws)
        gaps.append(abs(random_crop(*arguments) - as_torchvision_does(*arguments)))
    assert max(gap.max() for gap in gaps) <= 2
    assert np.mean([gap.mean() for gap in gaps]) < 0.1


def test_a_flipped_crop_is_the_mirror_image() -> None:
    picture, draws = encoded(90, 70), draws_at(0, 7, 1)[0]
    never, always = Augmentation(flip=0.0), Augmentation(flip=1.0)
    straight = random_crop(picture, 32, never, draws)
    assert (random_crop(picture, 32, always, draws) == straight[:, ::-1]).all()
    assert abs(straight - as_torchvision_does(picture, 32, never, draws)).max() <= 1


def test_pillow_gives_the_same_crops_where_the_fast_decoder_is_missing(
    photographs, monkeypatch
) -> None:
    def crops() -> np.ndarray:
        pairs = zip(photographs, draws_at(3, 0, len(photographs)), strict=True)
        return np.array([random_crop(picture, 96, Augmentation(), row) for picture, row in pairs])

    fast = crops()
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    assert (fast == crops()).all()


def test_photographs_never_meet_pillow(photographs, monkeypatch) -> None:
    monkeypatch.setattr(decode, "open_picture", lambda _: pytest.fail("left to Pillow"))
    for picture, draws in zip(photographs, draws_at(0, 0, len(photographs)), strict=True):
        random_crop(picture, 32, Augmentation(), draws)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, "RGB") for kind in ("PNG", "JPEG", "WEBP")]
    + [("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "CMYK")],
)
def test_every_kind_of_picture_becomes_rgb(kind, mode) -> None:
    picture = encoded(40, 30, kind, mode)
    crop = random_crop(picture, 16, Augmentation(), draws_at(0, 0, 1)[0])
    for pixels in (crop, centre_crop(picture, 16)):
        assert pixels.shape == (16, 16, 3)
        assert pixels.dtype == np.uint8


def test_the_centre_crop_keeps_the_middle() -> None:
    picture = Image.new("RGB", (60, 20))
    picture.paste((255, 255, 255), (20, 0, 40, 20))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    assert (centre_crop(buffer.getvalue(), 20) == 255).all()


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(ValueError, match="60000 x 60000"):
        open_picture(png((60_000, 60_000), bits=8, colour_type=2, rows=bytes(10)))


def test_a_jpeg_is_refused_by_its_header_too(monkeypatch) -> None:
    monkeypatch.setattr(jpeg, "decode_rows", lambda *_: pytest.fail("decoded"))
    picture = bytearray(encoded(8, 8, "JPEG"))
    at = jpeg.find_frame(bytes(picture)).at + 5  # marker, length and precision come first
    picture[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(ValueError, match="60000 x 60000"):
        random_crop(bytes(picture), 16, Augmentation(), np.zeros(DRAWS))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_jpeg_cut_short_is_a_value_error_wherever_the_crop_lies(photographs, share) -> None:
    top = np.full(DRAWS, 0.01)  # a small crop at the top, which is whole
    whole = photographs[0]
    random_crop(whole, 16, Augmentation(), top)
    with pytest.raises(ValueError, match="picture"):
        random_crop(whole[: int(share * len(whole))], 16, Augmentation(), top)


DAMAGED = b"\x89PNG\r\n\x1a\n" + b"\0" * 30
CUT = (encoded(50, 50)[:-2000], encoded(50, 50, "JPEG")[:300])


@pytest.mark.parametrize("content", [b"", b"GIF89a", DAMAGED, *CUT])
def test_what_is_no_whole_picture_is_a_value_error(content) -> None:
    with pytest.raises(ValueError, match=r"picture"):
        random_crop(content, 16, Augmentation(), np.zeros(DRAWS))


def test_a_crop_scale_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"0\.0 1\.0"):
        Augmentation(crop_scale=(0.0, 1.0))
