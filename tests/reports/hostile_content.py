"""Contents of records that mean harm or no sense."""

import math
import re
from random import Random

from hypothesis import strategies as st

ATTACK = "$\\frac{1$ <script>alert(1)</script> \u202e\x00\ud800 | [a](b)"
STRANGE = (
    None,
    "12",
    "",
    True,
    [],
    {},
    [[1]],
    {"median": "x"},
    math.nan,
    math.inf,
    -1,
    0,
    10**400,
    5e-324,
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def poisoned(tree: object) -> object:
    """Every string, and every key of free choice, with an attack behind it."""
    if isinstance(tree, dict):
        free = ("no noun", "tagged", "its ", "a label")
        return {
            f"{key} {ATTACK}" if key.startswith(free) else key: poisoned(value)
            for key, value in tree.items()
        }
    if isinstance(tree, list):
        return [poisoned(value) for value in tree]
    return (
        f"{tree} {ATTACK}"
        if isinstance(tree, str) and not re.fullmatch(r"paper|corenet|\w+\.n\.\d+", tree)
        else tree
    )


def with_leaves(tree: object, strange: object) -> object:
    """The same tree with every number and string replaced."""
    if isinstance(tree, dict):
        return {key: with_leaves(value, strange) for key, value in tree.items()}
    return [with_leaves(value, strange) for value in tree] if isinstance(tree, list) else strange


def mutilated(tree: object, random: Random) -> object:
    if random.random() < 0.03:
        return random.choice(STRANGE)
    if isinstance(tree, dict):
        return {
            key: mutilated(value, random) for key, value in tree.items() if random.random() > 0.05
        }
    return [mutilated(value, random) for value in tree] if isinstance(tree, list) else tree
