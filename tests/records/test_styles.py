"""How methods are shown that only records know."""

from typing import Any

import pytest

from catlip.records.styles import KNOWN, OTHER, learn, name_of, stated_colours, style_of

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
    shown = style_of(method)
    assert (name_of(method), shown.colour, shown.marker) == style
    learn([])
    assert stated_colours() == []
    assert style_of("catlip:raw") == style_of("catlip_other") == KNOWN["catlip"]
