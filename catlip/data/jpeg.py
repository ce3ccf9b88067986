"""Decodes only the upper rows of a JPEG with libjpeg-turbo; Pillow decodes unusual JPEGs.

A crop needs no rows below it, and a decoder stops at the height that the frame header states. So
the height in the header is reduced to where the crop ends. The pixels equal those that Pillow, or
any other program that uses libjpeg-turbo, decodes from the whole picture.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

try:
    import simplejpeg
except ImportError:  # no wheel for this machine: Pillow decodes every picture
    simplejpeg = None

START, END = b"\xff\xd8", b"\xff\xd9"
FRAMES = {0xC0, 0xC1, 0xC2}  # Huffman-coded baseline, extended and progressive
SCAN = b"\xff\xda"  # begins a scan
# A segment's, which begins with its length; in image data, a byte 0xFF is followed by a zero.
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)
# Tables, application data and comments, which may come before the frame.
SEGMENTS = {0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}
# Chroma is interpolated from one row of samples below, which covers two rows of pixels.
CONTEXT_ROWS = 2
# A multiple of the height of any row of blocks: a lowered height cuts no row that the crop needs.
BLOCK_ROWS = 32


@dataclass(frozen=True)
class Frame:
    """The frame header of an ordinary JPEG, which is `at` bytes into the file."""

    width: int
    height: int
    at: int


def find_frame(encoded: bytes) -> Frame | None:
    """The frame of a whole JPEG of 8 bits and of one or three components; None for any other. Skips
    only segments that every decoder reads alike, so that it finds this frame too.
    """
    if simplejpeg is None or not (encoded.startswith(START) and encoded.endswith(END)):
        return None
    at = len(START)
    while at + 10 <= len(encoded) and encoded[at] == 0xFF:  # the start of a segment
        marker, length = encoded[at + 1], int.from_bytes(encoded[at + 2 : at + 4])
        if marker in FRAMES:
            height = int.from_bytes(encoded[at + 5 : at + 7])
            width = int.from_bytes(encoded[at + 7 : at + 9])
            if encoded[at + 4] != 8 or encoded[at + 9] not in (1, 3) or not (height and width):
                return None
            return Frame(width, height, at)
        if marker not in SEGMENTS:
            return None
        at += 2 + length
    return None


def count_scans(encoded: bytes) -> int:
    """The scans up to the end of the image, 0 if it is no JPEG."""
    scans, at = 0, 0
    while (marker := MARKER.search(encoded, at)) and marker[0] != END:
        scans += marker[0] == SCAN
        at = marker.end() + int.from_bytes(encoded[marker.end() : marker.end() + 2])
    return scans if encoded.startswith(START) else 0


def decode_rows(encoded: bytes, frame: Frame, rows: int) -> NDArray[np.uint8] | None:
    """At least the first `rows` rows, [>= rows, width, 3] RGB; None if the decoder refuses it."""
    height = min(frame.height, -(-(rows + CONTEXT_ROWS) // BLOCK_ROWS) * BLOCK_ROWS)
    height_at = frame.at + 5
    lowered = encoded[:height_at] + height.to_bytes(2) + encoded[height_at + 2 :]
    try:
        # Not strict: the data below the new height cause only a warning.
        return simplejpeg.decode_jpeg(lowered, "RGB", strict=False)
    except ValueError:
        return None
