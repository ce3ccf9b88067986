"""Strangers' pictures start no program, keep no decoder busy, and have the stored pixels."""

import ast
import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from written_png import png

from bench.data_path.photographs import shipped_photographs
from bench.downstream.encoders.preprocess import rgb_picture
from catlip.data import decode, jpeg
from catlip.data.augment import Augmentation, centre_crop, draws_at, random_crop
from catlip.data.decode import PictureError, cropped_pixels, open_picture
from catlip.program.broken import cause_of

OTHER_KIND = "not a JPEG, PNG, WebP or GIF"  # a cause, as records count it
SOURCES = Path(decode.__file__).parents[2]


def whole(encoded: bytes) -> np.ndarray:
    return cropped_pixels(encoded, lambda width, height: (0, 0, width, height))


# Every way in which the project takes a picture.
READERS = {
    "training": lambda encoded: random_crop(encoded, 16, Augmentation(), draws_at(0, 0, 1)[0]),
    "testing": lambda encoded: centre_crop(encoded, 16),
    "libraries": lambda encoded: np.asarray(rgb_picture(encoded)),
    "whole": whole,
}


def refusal(reader: Callable[[bytes], object], encoded: bytes) -> str:
    """Why it is refused, as records count it."""
    with pytest.raises(PictureError) as refused:
        reader(encoded)
    return cause_of(refused.value)


def save(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def ghostscript(tmp_path, monkeypatch) -> Path:
    """A `gs` that leaves a mark when it is started; where the mark would be."""
    mark, program = tmp_path / "started", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return mark


@pytest.mark.parametrize("reader", READERS)
def test_postscript_in_a_jpg_starts_no_program(reader, ghostscript) -> None:
    postscript = save(Image.new("RGB", (40, 30)), "EPS")
    assert postscript.startswith(b"%!PS-Adobe")
    assert refusal(READERS[reader], postscript) == OTHER_KIND
    assert not ghostscript.exists()


def test_nor_does_a_library_that_opens_it_itself(ghostscript) -> None:
    with pytest.raises(OSError, match="Ghostscript"):
        Image.open(io.BytesIO(save(Image.new("RGB", (40, 30)), "EPS"))).load()
    assert EpsImagePlugin.gs_binary is False
    assert not ghostscript.exists()


def test_whoever_opens_a_picture_says_which_kinds() -> None:
    calls = []
    for folder in ("catlip", "baselines", "bench", "reports"):
        for path in (SOURCES / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open":
                    calls.append(ast.unparse(node))
    assert calls
    assert [call for call in calls if "formats=" not in call] == []


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "PPM", "ICO"])
def test_other_kinds_are_refused_by_their_first_bytes(kind) -> None:
    assert refusal(whole, save(Image.new("RGB", (40, 30)), kind)) == OTHER_KIND


def many_scans(picture: Image.Image, scans: int) -> bytes:
    """A progressive JPEG that refines nothing again and again."""
    encoded = save(picture, "JPEG", progressive=True)
    last = encoded[encoded.rfind(jpeg.SCAN) : -2]
    return encoded[:-2] + last * (scans - encoded.count(jpeg.SCAN)) + encoded[-2:]


def baseline_scans(picture: Image.Image, scans: int) -> bytes:
    """A baseline JPEG whose scans are of one colour each, and empty."""
    encoded = save(picture, "JPEG", subsampling=0)
    one = [jpeg.SCAN + bytes([0, 8, 1, colour, 0, 0, 63, 0, 0]) for colour in (1, 2, 3)]
    return encoded[: encoded.rfind(jpeg.SCAN)] + b"".join(one) * (scans // 3) + jpeg.END


@pytest.mark.parametrize("ending", [b"", b"\0"], ids=["ordinary", "left to Pillow"])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("make", "mode"), [(many_scans, "L"), (baseline_scans, "RGB")], ids=["progressive", "baseline"]
)
def test_a_jpeg_of_3000_scans_is_refused_before_it_is_decoded(make, mode, reader, ending) -> None:
    attack = make(Image.new(mode, (2000, 2000)), 3000) + ending
    assert len(attack) < 200_000
    start = time.process_time()
    assert refusal(READERS[reader], attack) == "too many scans"
    assert time.process_time() - start < 0.5  # decoded, it takes seven seconds


@pytest.mark.parametrize(
    "between", [b"", b"\xff\xff", b"\0\xff\0", b"\xff\xd0", b"\xff\xfe\0\4\xff\xda"]
)
@pytest.mark.parametrize("scans", [1, 3])
def test_a_baseline_jpeg_has_more_scans_if_its_first_lacks_a_colour(scans, between) -> None:
    picture = Image.new("RGB", (40, 30))
    usual = save(picture, "JPEG", subsampling=0)
    encoded, at = baseline_scans(picture, scans) if scans > 1 else usual, usual.rfind(jpeg.SCAN)
    odd = encoded[:at] + between + encoded[at:]
    np.testing.assert_array_equal(whole(odd), whole(encoded))
    assert jpeg.has_more_scans(odd) == (scans > 1)


def test_what_follows_the_end_of_a_baseline_jpeg_does_not_count_as_scans() -> None:
    usual = save(Image.new("RGB", (40, 30), "red"), "JPEG")
    film = usual + jpeg.SCAN * 2 * decode.MAX_SCANS  # as telephones append it
    np.testing.assert_array_equal(whole(film), whole(usual))


def test_how_many_scans_there_may_be_depends_on_the_pixels(monkeypatch) -> None:
    picture = Image.open(shipped_photographs()[0]).convert("RGB")
    assert save(picture, "JPEG", progressive=True).count(jpeg.SCAN) == 10
    assert whole(many_scans(picture, decode.MAX_SCANS)).shape == (picture.height, picture.width, 3)
    with pytest.raises(PictureError, match="101"):
        whole(many_scans(picture, decode.MAX_SCANS + 1))
    monkeypatch.setattr(decode, "MAX_SCANNED_PIXELS", 20 * picture.width * picture.height)
    assert whole(many_scans(picture, 20)).shape == (picture.height, picture.width, 3)
    with pytest.raises(PictureError, match=r"\b20\b"):
        whole(many_scans(picture, 21))


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a sample, [h, w] of grey or [h, w, 3] RGB."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png((width, height), bits=16, colour_type=0 if values.ndim == 2 else 2, rows=rows)


@pytest.mark.parametrize("reader", READERS)
def test_sixteen_bits_of_grey_are_scaled_to_eight(reader) -> None:
    grey = np.linspace(0, 65535, 30 * 40).reshape(30, 40).astype(np.uint16)
    eight = save(Image.fromarray((grey >> 8).astype(np.uint8)), "PNG")
    np.testing.assert_array_equal(READERS[reader](png16(grey)), READERS[reader](eight))
    colour = np.stack([grey, grey[::-1], grey // 2], axis=2)
    eight = save(Image.fromarray((colour >> 8).astype(np.uint8)), "PNG")
    np.testing.assert_array_equal(READERS[reader](png16(colour)), READERS[reader](eight))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {})]
)
def test_a_turn_that_the_camera_noted_is_not_made(reader, kind, options) -> None:
    picture = Image.open(shipped_photographs()[0]).convert("RGB").crop((0, 0, 60, 40))
    turned = Image.Exif()
    turned[0x0112] = 6  # Orientation: to be turned by 90 degrees
    noted = save(picture, kind, exif=turned, **options)
    assert Image.open(io.BytesIO(noted)).getexif()[0x0112] == 6
    plain = save(picture, kind, **options)
    np.testing.assert_array_equal(READERS[reader](noted), READERS[reader](plain))
    assert whole(noted).shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty"),
        (b"<html>", "not a JPEG, PNG, WebP or GIF"),
        (save(Image.new("RGB", (90, 90)), "PNG")[:-40], "cut short"),
        (save(Image.effect_noise((90, 90), 50).convert("RGB"), "JPEG")[:2000], "cut short"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "damaged"),
    ],
)
def test_what_is_wrong_is_one_of_few_words(content, cause) -> None:
    reader = READERS["testing"] if cause == "cut short" else lambda it: open_picture(it).load()
    assert refusal(whole, content) == refusal(reader, content) == cause
