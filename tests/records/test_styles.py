"""How methods are shown that only records know."""

from typing import Any

import pytest

from catlip.records.styles import KNOWN, OTHER, colour_of, learn, marker_of, name_of, stated_colours

TOY = {"label": "Toy", "colour": "#AB12cd", "marker": "X"}
UNKNOWN = ("toy", OTHER, "P")


@pytest.fixture(autouse=True)
def forget() -> Any:
    yield
    learn([])


@pytest.mark.parametrize(
    ("method", "stated", "style"),
    [
        ("toy", TOY, ("Toy", "#ab12cd", "X")),
        ("toy", None, UNKNOWN),
        ("toy", {"label": 3, "colour": "red; }", "marker": "$x$"}, UNKNOWN),
        ("toy", {"colour": "#12", "marker": ""}, UNKNOWN),
        ("clip", TOY, tuple(vars(KNOWN["clip"]).values())),  # not renamed
        ("catlip:raw", TOY, ("Toy", "#ab12cd", "X")),
    ],
)
def test_method_is_shown_as_its_records_state_where_that_can_be_drawn(method, stated, style):
    learn([{method: stated}])
    assert (name_of(method), colour_of(method), marker_of(method)) == style
    learn([])
    assert stated_colours() == []
    assert colour_of("catlip:raw") == colour_of("catlip_other") == KNOWN["catlip"].colour
