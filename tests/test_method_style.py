"""How methods are shown that only records know."""

from typing import Any

import pytest

from catlip.method_style import KNOWN, OTHER, colour_of, learn, marker_of, name_of, stated_colours

TOY = {"label": "Toy", "colour": "#AB12cd", "marker": "X"}


@pytest.fixture(autouse=True)
def forget() -> Any:
    yield
    learn([])


def look_of(method: str) -> tuple[str, str, str]:
    return name_of(method), colour_of(method), marker_of(method)


def test_a_method_is_shown_as_its_records_state() -> None:
    learn([{"toy": TOY}])
    assert look_of("toy") == ("Toy", "#ab12cd", "X")
    assert stated_colours() == ["#ab12cd"]
    learn([])
    assert look_of("toy") == ("toy", OTHER, "P")


def test_a_variant_has_the_colour_of_its_method() -> None:
    assert colour_of("catlip:raw") == colour_of("catlip_other") == KNOWN["catlip"].colour


@pytest.mark.parametrize(
    "stated",
    [
        None,
        5,
        {},
        {"label": 3, "colour": "red; }", "marker": "$x$"},
        {"colour": "#12", "marker": ""},
    ],
)
def test_what_cannot_be_drawn_is_shown_as_unknown(stated: Any) -> None:
    learn([{"toy": stated}])
    assert look_of("toy") == ("toy", OTHER, "P")


def test_records_do_not_rename_a_known_method() -> None:
    learn([{"clip": TOY}])
    assert (name_of("clip"), colour_of("clip")) == ("CLIP", KNOWN["clip"].colour)
