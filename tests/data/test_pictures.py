"""Pictures of strangers run nothing and have the stored pixels; crops are torchvision's."""

import io
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import crops_of_photographs, photograph, png, png16, save
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import hflip, resized_crop

from catlip.data import decode, jpeg
from catlip.data.augment import DRAWS, Augmentation, centre_crop, crop_box, draws_at, random_crop
from catlip.data.decode import PictureError, cropped_pixels
from catlip.data.jpeg import decode_rows, find_frame
from catlip.encoders.preprocess import rgb_picture
from catlip.program.broken import cause_of

OTHER_KIND = "not a JPEG, PNG, WebP or GIF"  # a cause, as records count it
USUAL = save(photograph())
FRAME_AT = find_frame(USUAL).at


def whole(encoded: bytes) -> np.ndarray:
    return cropped_pixels(encoded, lambda width, height: (0, 0, width, height))


# Every way in which the project takes a picture.
READERS = {
    # A small crop at the top: a picture that is cut short is noticed all the same.
    "training": lambda encoded: random_crop(encoded, 16, Augmentation(), np.full(DRAWS, 0.01)),
    "testing": lambda encoded: centre_crop(encoded, 16),
    "libraries": lambda encoded: np.asarray(rgb_picture(encoded)),
    "whole": whole,
}


def refusal(reader: Callable[[bytes], object], encoded: bytes) -> str:
    """Why it is refused, as records count it."""
    with pytest.raises(PictureError) as refused:
        reader(encoded)
    return cause_of(refused.value)


# What is refused


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        # Pillow starts Ghostscript for an EPS.
        *(
            (save(Image.new("RGB", (40, 30)), kind), OTHER_KIND)
            for kind in ("EPS", "TIFF", "BMP", "ICO")
        ),
        (b"", "empty"),
        (b"<html>", OTHER_KIND),
        (save(Image.new("RGB", (90, 90)), "PNG")[:-40], "cut short"),
        (save(Image.effect_noise((90, 90), 50).convert("RGB"))[:2000], "cut short"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "damaged"),
        (b"GIF89a", "damaged"),
        (png((60_000, 60_000), bits=8, colour_type=2, rows=bytes(10)), "too many pixels"),
        (USUAL[: FRAME_AT + 5] + b"\xea\x60" * 2 + USUAL[FRAME_AT + 9 :], "too many pixels"),
        *((USUAL[: int(part * len(USUAL))], "cut short") for part in (0.2, 0.5, 0.9, 0.999)),
    ],
)
def test_cause_of_a_refusal_is_one_of_few_words(content: bytes, cause: str) -> None:
    assert {refusal(reader, content) for reader in READERS.values()} == {cause}


def many_scans(picture: Image.Image, scans: int) -> bytes:
    """A progressive JPEG that refines nothing again and again."""
    encoded = save(picture, progressive=True)
    last = encoded[encoded.rfind(jpeg.SCAN) : -2]
    return encoded[:-2] + last * (scans - encoded.count(jpeg.SCAN)) + encoded[-2:]


def many_baseline_scans(picture: Image.Image, scans: int) -> bytes:
    """A JPEG that is not progressive and has one component a scan, again and again."""
    grey, colours = save(picture.convert("L")), save(picture.convert("RGB"), subsampling=0)
    heads = [jpeg.SCAN + bytes([0, 8, 1, component, 0, 0, 63, 0]) for component in (1, 2, 3)]
    pixels = grey[grey.rfind(jpeg.SCAN) + len(heads[0]) : -2]
    first = pixels.join([colours[: colours.rfind(jpeg.SCAN)] + heads[0], *heads[1:], b""])
    return first + heads[2] * (scans - 3) + jpeg.END


@pytest.mark.parametrize("ending", [b"", b"\0"], ids=["ordinary", "left to Pillow"])
@pytest.mark.parametrize("many", [many_scans, many_baseline_scans])
def test_jpeg_of_3000_scans_is_refused_before_it_is_decoded(many, ending) -> None:
    attack = many(Image.new("L", (2000, 2000)), 3000) + ending
    start = time.process_time()
    assert {refusal(reader, attack) for reader in READERS.values()} == {"too many scans"}
    assert time.process_time() - start < 2  # decoded once, it takes seven seconds
    picture = photograph()
    assert whole(many(picture, decode.MAX_SCANS)).shape == (picture.height, picture.width, 3)
    usual = save(picture, progressive=many is many_scans)
    film = usual + jpeg.SCAN * 2 * decode.MAX_SCANS  # as telephones append it
    np.testing.assert_array_equal(whole(film), whole(usual))


# What pixels there are


@pytest.mark.parametrize("reader", READERS)
def test_pixels_are_the_stored_ones_in_eight_bits(reader) -> None:
    read = READERS[reader]
    grey = np.linspace(0, 65535, 30 * 40).reshape(30, 40).astype(np.uint16)
    for values in (grey, np.stack([grey, grey[::-1], grey // 2], axis=2)):
        eight = save(Image.fromarray((values >> 8).astype(np.uint8)), "PNG")
        np.testing.assert_array_equal(read(png16(values)), read(eight))
    picture, turned = photograph().crop((0, 0, 60, 40)), Image.Exif()
    turned[0x0112] = 6  # Orientation: to be turned by 90 degrees
    for kind in ("JPEG", "PNG", "WEBP"):
        noted = save(picture, kind, exif=turned)
        np.testing.assert_array_equal(read(noted), read(save(picture, kind)))
    for kind, mode in (("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "CMYK"), ("GIF", "P")):
        pixels = read(save(picture.convert(mode), kind))
        assert (pixels.shape[2], pixels.dtype) == (3, np.uint8)


# The upper rows of a JPEG


@given(
    number=st.integers(0, 2),
    size=st.tuples(st.integers(1, 300), st.integers(1, 200)),
    share=st.floats(0, 1),
    mode=st.sampled_from(["RGB", "L"]),
    options=st.fixed_dictionaries(
        {
            "quality": st.integers(30, 100),
            "subsampling": st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
            "progressive": st.booleans(),
            "optimize": st.booleans(),
            "restart_marker_rows": st.integers(0, 3),
        }
    ),
)
@example(0, (300, 200), 32 / 200, "RGB", {"quality": 90, "subsampling": "4:2:0"})  # a whole block
@settings(max_examples=100)
def test_rows_are_those_of_a_whole_decode_bit_for_bit(number, size, share, mode, options):
    encoded = save(photograph(number).crop((0, 0, *size)).convert(mode), **options)
    expected = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    frame = find_frame(encoded)
    assert (frame.width, frame.height) == size
    rows = max(1, round(share * frame.height))
    decoded = decode_rows(encoded, frame, rows)
    assert len(decoded) <= rows + 34  # those below are not decoded
    assert (decoded[:rows] == expected[:rows]).all()


@pytest.mark.parametrize(
    "unusual",
    [
        b"",
        USUAL[:-2],
        USUAL[1:],
        USUAL + b"\0",
        save(photograph().convert("CMYK")),
        *(
            USUAL[:FRAME_AT] + bytes([0xFF, marker]) + USUAL[FRAME_AT + 2 :]
            for marker in (0xC3, 0xC9, 0xCF, 0xDA, 0xFF, 0x01)
        ),
        USUAL[: FRAME_AT + 4] + b"\x0c" + USUAL[FRAME_AT + 5 :],  # 12 bits
        USUAL[: FRAME_AT + 5] + b"\0\0" + USUAL[FRAME_AT + 7 :],  # a height that comes later
        *(
            USUAL[:2] + marker + b"\0\x04\0\0" + USUAL[2:]
            for marker in (b"\xff\xff", b"\xff\x01", b"\xff\xd0")
        ),  # of no length
        USUAL[:4] + b"\xff\xff" + USUAL[6:],  # a segment that reaches past the end
    ],
)
def test_unusual_jpegs_are_left_to_pillow(unusual: bytes) -> None:
    assert find_frame(unusual) is None


# Crops


@pytest.mark.parametrize(("width", "height"), [(64, 64), (100, 500), (500, 100)])
def test_crops_are_distributed_as_torchvision_draws_them(width: int, height: int) -> None:
    augmentation = Augmentation(crop_scale=(0.2, 1.0))
    boxes = np.array([crop_box(width, height, augmentation, row) for row in draws_at(0, 0, 4000)])
    torch.manual_seed(0)
    image, params = torch.zeros(3, height, width), RandomResizedCrop.get_params
    expected = [params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    expected = np.array([(left, top, left + w, top + h) for top, left, h, w in expected])
    ours, theirs = (
        [*drawn.T, (drawn[:, 2] - drawn[:, 0]) / (drawn[:, 3] - drawn[:, 1])]
        for drawn in (boxes, expected)
    )
    for drawn in zip(ours, theirs, strict=True):
        assert ks_2samp(*drawn).pvalue > 0.01
    room = [width, height] - (boxes[:, 2:] - boxes[:, :2])
    if width == height:  # of the room that a crop leaves, any part is to its left, and any above
        parts = (boxes[:, :2] / room.clip(1))[(room > 5).all(axis=1)]
        assert abs(np.corrcoef(parts.T)[0, 1]) < 0.1
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [width, height]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_crops_are_torchvisions_within_two_grey_levels_with_either_decoder(monkeypatch) -> None:
    augmentation, photographs = Augmentation(), crops_of_photographs(40)
    monkeypatch.setattr(decode, "open_picture", lambda _: pytest.fail("left to Pillow"))
    for resolution in (128, 224, 320):
        gaps = []
        for picture, draws in zip(photographs, draws_at(0, 0, 40), strict=True):
            image = Image.open(io.BytesIO(picture)).convert("RGB")
            left, top, right, bottom = crop_box(*image.size, augmentation, draws)
            size = [resolution, resolution]
            image = resized_crop(image, top, left, bottom - top, right - left, size)
            image = np.asarray(hflip(image) if draws[-1] < augmentation.flip else image)
            crop = random_crop(picture, resolution, augmentation, draws)
            gaps.append(abs(crop.astype(int) - image))
        assert max(gap.max() for gap in gaps) <= 2
        assert np.mean([gap.mean() for gap in gaps]) < 0.1
        flipped, straight = (
            random_crop(picture, resolution, Augmentation(flip=flip), draws) for flip in (1, 0)
        )
        assert (flipped == straight[:, ::-1]).all()
    assert (draws_at(0, 0, 40)[20:] == draws_at(0, 20, 20)).all()
    monkeypatch.undo()
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    assert (random_crop(picture, resolution, augmentation, draws) == crop).all()
