"""Decodes pictures from any source to pixels; no other module opens a user's pictures.

Only JPEG, PNG, WebP and GIF are read, recognised by their first bytes: Pillow knows some fifty
formats, and for one of them, EPS, it starts Ghostscript. A picture that would take too long or too
much memory to decode is refused by its header.

Pixels are RGB of 8 bits, as they are stored: a rotation noted in EXIF is not applied, as it is not
by the release, open_clip and torchvision's folders, but for photographs that are made into shards
here (`upright`). detectron2, which reads its images itself, applies the rotation, and its boxes
refer to the rotated picture. 16-bit pixels keep their upper 8.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import EpsImagePlugin, ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from catlip.data import jpeg

Box = tuple[int, int, int, int]  # left, top, right, bottom
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
NO_PICTURE = "not a JPEG, PNG, WebP or GIF"  # a cause
FIRST_BYTES = (jpeg.START, b"\x89PNG", b"RIFF", b"GIF8")
# Checked in the header: a larger picture is refused before a byte of it is decoded.
MAX_PIXELS = 100_000_000
# Each scan of a JPEG, even one of 20 bytes, may visit every block again; 10 are usual.
MAX_SCANS = 100
UPRIGHT_QUALITY = 95
ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = None  # the header check below is stricter, and raises instead of warning
EpsImagePlugin.gs_binary = False  # a library that opens a picture itself starts no program either


class PictureError(ValueError):
    """Why a picture cannot be used: the cause, one of a few phrases to be counted, and details."""

    def __init__(self, cause: str, detail: object):
        super().__init__(cause, detail)
        self.cause, self.detail = cause, detail

    def __str__(self) -> str:
        return f"{self.cause}: {self.detail}"


def open_picture(encoded: bytes) -> Image.Image:
    """Check the header of a picture and open it for decoding. Raises: PictureError."""
    if not encoded:
        raise PictureError("empty", "a picture of no bytes")
    try:
        picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except UnidentifiedImageError:
        cause = "damaged" if encoded.startswith(FIRST_BYTES) else NO_PICTURE
        raise PictureError(cause, f"a picture that begins with {encoded[:8]!r}") from None
    except Exception as error:  # Pillow's parsers may raise anything on damaged bytes
        raise PictureError("damaged", f"a picture whose header cannot be read ({error})") from None
    _check_size(*picture.size)
    _check_scans(encoded)
    return picture


def rgb(picture: Image.Image) -> Image.Image:
    """The picture decoded, in RGB of 8 bits. Raises: PictureError."""
    try:
        picture.load()
        if picture.mode.startswith("I"):
            # 16 bits of grey: Pillow's own conversion would clip them at 255.
            return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
        if picture.mode == "P":  # Pillow wants a palette with transparency converted in two steps
            picture = picture.convert("RGBA")
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    except Exception as error:
        cause = "cut short" if "truncated" in str(error) else "damaged"
        raise PictureError(cause, f"a picture that cannot be decoded ({error})") from None


def cropped_pixels(encoded: bytes, choose_box: Callable[[int, int], Box]) -> NDArray[np.uint8]:
    """The pixels in the chosen box, [h, w, 3] RGB, of either decoder. Raises: PictureError."""
    if frame := jpeg.find_frame(encoded):
        _check_size(frame.width, frame.height)
        _check_scans(encoded)
        left, top, right, bottom = choose_box(frame.width, frame.height)
        rows = jpeg.decode_rows(encoded, frame, bottom)
        if rows is not None:
            return rows[top:bottom, left:right]
    picture = open_picture(encoded)
    return np.array(rgb(picture).crop(choose_box(*picture.size)))


def whole_pixels(encoded: bytes) -> NDArray[np.uint8]:
    """[H, W, 3] RGB. Raises: PictureError."""
    return cropped_pixels(encoded, lambda width, height: (0, 0, width, height))


def shrink_picture(encoded: bytes, side: int, quality: int) -> bytes:
    """The picture as a JPEG whose shorter side has `side` pixels; as it is if that has no more.
    Raises: PictureError, also where the bytes would stay the same.
    """
    picture = open_picture(encoded)
    shorter = min(picture.size)
    if shorter <= side:
        rgb(picture)
        return encoded
    width, height = (max(side, round(length * side / shorter)) for length in picture.size)
    picture.draft("RGB", (width, height))  # a JPEG is decoded at a half, a quarter or an eighth
    content = io.BytesIO()
    small = rgb(picture).resize((width, height), Image.Resampling.BILINEAR)
    small.save(content, "JPEG", quality=quality)
    return content.getvalue()


def upright(encoded: bytes) -> bytes:
    """The picture as a JPEG turned as its EXIF says; as it is if that says nothing."""
    try:
        picture = open_picture(encoded)
        if picture.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return encoded
        content = io.BytesIO()
        ImageOps.exif_transpose(rgb(picture)).save(content, "JPEG", quality=UPRIGHT_QUALITY)
    except Exception:  # a damaged picture is refused when it is read, and damaged EXIF says nothing
        return encoded
    return content.getvalue()


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError("too many pixels", f"{width} x {height}, over {MAX_PIXELS:,}")


def _check_scans(encoded: bytes) -> None:
    # Few pictures have so many of these bytes; one with a telephone's film after it may.
    if encoded.count(jpeg.SCAN) > MAX_SCANS and (scans := jpeg.count_scans(encoded)) > MAX_SCANS:
        raise PictureError("too many scans", f"a JPEG of {scans:,} scans, over {MAX_SCANS}")
