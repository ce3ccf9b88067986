"""The upper rows of a JPEG, decoded by libjpeg-turbo; whatever is unusual is left to Pillow.

A crop needs nothing of what lies below it, and a decoder stops at the height that the frame header
states: the header is lowered to where the crop ends. The pixels are those of a whole decode, by
Pillow or by anyone else who uses libjpeg-turbo.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

try:
    import simplejpeg
except ImportError:  # no wheel for this machine: every picture is Pillow's
    simplejpeg = None

START, END = b"\xff\xd8", b"\xff\xd9"
PROGRESSIVE = 0xC2
FRAMES = {0xC0, 0xC1, PROGRESSIVE}  # Huffman-coded baseline, extended and progressive
SCAN = b"\xff\xda"  # begins one; data that happen to be 0xFF are followed by a zero
SEGMENTS = {
    0xC4,
    0xDB,
    0xDD,
    *range(0xE0, 0xF0),
    0xFE,
}  # tables, application data and comments, which may come before it
CONTEXT_ROWS = (
    2  # chroma is interpolated from a row of samples below, which stands for two rows of pixels
)
# A multiple of any row of blocks: a lowered height leaves no block row cut where the crop needs it.
BLOCK_ROWS = 32


@dataclass(frozen=True)
class Frame:
    """A JPEG of an ordinary kind.

    Attributes:
        width, height: in pixels.
        height_at: where in its bytes the height stands.
        progressive: whether each of its scans refines the whole picture.
    """

    width: int
    height: int
    height_at: int
    progressive: bool


def find_frame(encoded: bytes) -> Frame | None:
    """The frame of a JPEG that is whole, of 8 bits and of one or three components; None for
    anything else.

    Only what every decoder reads in the same way is passed over, lest the decoder meet another
    frame than this one.
    """
    if simplejpeg is None or not (encoded.startswith(START) and encoded.endswith(END)):
        return None
    at = len(START)
    while at + 10 <= len(encoded) and encoded[at] == 0xFF:  # the start of a segment
        marker, length = encoded[at + 1], int.from_bytes(encoded[at + 2 : at + 4])
        if marker in FRAMES:
            height, width = (
                int.from_bytes(encoded[at + 5 : at + 7]),
                int.from_bytes(encoded[at + 7 : at + 9]),
            )
            ordinary = encoded[at + 4] == 8 and encoded[at + 9] in (1, 3) and height and width
            return Frame(width, height, at + 5, marker == PROGRESSIVE) if ordinary else None
        if marker not in SEGMENTS:
            return None
        at += 2 + length
    return None


def decode_rows(encoded: bytes, frame: Frame, rows: int) -> NDArray[np.uint8] | None:
    """At least the first `rows` rows of the picture, [>= rows, width, 3] RGB; None when the decoder
    refuses it.
    """
    height = min(frame.height, -(-(rows + CONTEXT_ROWS) // BLOCK_ROWS) * BLOCK_ROWS)
    lowered = encoded[: frame.height_at] + height.to_bytes(2) + encoded[frame.height_at + 2 :]
    try:
        return simplejpeg.decode_jpeg(
            lowered, "RGB", strict=False
        )  # what lies below the new height is only a warning
    except ValueError:
        return None
