"""All recipes, for the comparison with the paper's."""

from dataclasses import dataclass

from catlip.records.kind import Kind


@dataclass(frozen=True, kw_only=True)
class Recipes(Kind):
    """No metrics: the record's config holds `recipes` and `transfer_recipes`."""

    kind = "recipes"
