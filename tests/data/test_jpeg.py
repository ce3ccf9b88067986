"""The upper rows of a JPEG are those of a whole decode, and nothing unusual is taken for usual."""

import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.data_path.photographs import shipped_photographs
from catlip.data.jpeg import decode_rows, find_frame

PHOTOGRAPHS = [Image.open(path).convert("RGB") for path in shipped_photographs()[:3]]


def save(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


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
@settings(max_examples=200)
def test_the_rows_are_those_of_a_whole_decode_bit_for_bit(
    number, size, share, mode, options
) -> None:
    encoded = save(PHOTOGRAPHS[number].crop((0, 0, *size)).convert(mode), **options)
    whole = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    frame = find_frame(encoded)
    assert (frame.width, frame.height) == size
    rows = max(1, round(share * frame.height))
    assert (decode_rows(encoded, frame, rows)[:rows] == whole[:rows]).all()


@pytest.mark.parametrize("rows", [16, 30, 31, 32, 64, 96, 128])
def test_the_last_row_knows_the_colour_of_the_next(rows) -> None:
    for photograph in PHOTOGRAPHS:
        encoded = save(photograph, quality=90, subsampling="4:2:0")
        whole = np.asarray(Image.open(io.BytesIO(encoded)))
        assert (decode_rows(encoded, find_frame(encoded), rows)[:rows] == whole[:rows]).all()


def test_rows_below_are_not_decoded() -> None:
    encoded = save(PHOTOGRAPHS[0])
    assert len(decode_rows(encoded, find_frame(encoded), 10)) <= 42


def test_a_profile_or_comment_before_the_frame_is_passed_over() -> None:
    comment, profile = b"\xff\xc0" * 100, b"\xff\xda" * 40_000
    encoded = save(PHOTOGRAPHS[0], exif=bytes(60_000), comment=comment, icc_profile=profile)
    assert find_frame(encoded).width == PHOTOGRAPHS[0].width


USUAL = save(PHOTOGRAPHS[0])
FRAME_AT = find_frame(USUAL).at


@pytest.mark.parametrize(
    "unusual",
    [
        b"",
        b"\xff\xd8\xff\xd9",
        USUAL[:-2],
        USUAL[1:],
        USUAL + b"\0",
        save(PHOTOGRAPHS[0].convert("CMYK")),
        *(
            USUAL[:FRAME_AT] + bytes([0xFF, marker]) + USUAL[FRAME_AT + 2 :]
            for marker in (0xC3, 0xC9, 0xCF, 0xDA, 0xFF, 0x01)
        ),
        USUAL[: FRAME_AT + 4] + b"\x0c" + USUAL[FRAME_AT + 5 :],  # 12 bits
        USUAL[: FRAME_AT + 5] + b"\0\0" + USUAL[FRAME_AT + 7 :],  # a height that is told later
        *(
            USUAL[:2] + marker + b"\0\x04\0\0" + USUAL[2:]
            for marker in (b"\xff\xff", b"\xff\x01", b"\xff\xd0")
        ),  # of no length
        USUAL[:4] + b"\xff\xff" + USUAL[6:],  # a segment that reaches past the end
        USUAL[:3],
    ],
)
def test_what_is_unusual_is_left_to_pillow(unusual) -> None:
    assert find_frame(unusual) is None


@given(
    st.lists(
        st.tuples(st.integers(2, FRAME_AT + 20), st.sampled_from([0, 1, 2, 16, 0xC0, 0xDA, 0xFF])),
        min_size=1,
        max_size=4,
    )
)
@example([(2, 0xFF), (3, 0xFF)])  # bytes that fill, to some
@example([(4, 0), (5, 0)])  # a length that does not count itself
@settings(max_examples=1000)
def test_the_frame_of_a_damaged_header_is_the_one_that_a_decoder_finds(changes) -> None:
    damaged = bytearray(USUAL)
    for at, value in changes:
        damaged[at] = value
    frame = find_frame(bytes(damaged))
    if frame and frame.width * frame.height < 10**7:
        rows = decode_rows(bytes(damaged), frame, 20)
        assert rows is None or (
            len(rows) >= min(20, frame.height) and rows.shape[1:] == (frame.width, 3)
        )
