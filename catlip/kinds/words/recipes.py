"""All recipes, for the comparison with the paper's."""

from dataclasses import dataclass

from catlip.kinds.base import Kind


@dataclass(frozen=True, kw_only=True)
class Recipes(Kind):
    """Nothing is measured: `recipes` and `transfer_recipes` stand in the record's config."""

    kind = "recipes"
