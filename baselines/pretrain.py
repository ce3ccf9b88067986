"""Pre-train the same image encoder with a baseline, on the same data path, loop and recipes."""

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

from catlip.cli import InputError, choose, one_of, run, take_option
from catlip.pretraining.config import PretrainRun
from catlip.program.methods import BINARY, baseline_names, methods
from catlip.recipes.pretrain import CATLIP, CLIP, PHOTOS, STARTERS, Recipe, photos_recipe
from catlip.records.record import OMIT_DEFAULT

if TYPE_CHECKING:  # the command line is read without torch
    from catlip.data.shard_set import ShardSet
    from catlip.objective import Objective
    from catlip.pretraining.method import Method


@dataclass(frozen=True)
class PretrainBaseline(PretrainRun):
    """Pre-train an image encoder with a baseline; run the same command again to go on where it
    stopped.

    python -m baselines.pretrain --method clip --recipe starter --shards data/starter/pretrain \\
        --out runs/starter/pretrain/clip-seed0
    python -m baselines.pretrain --method superclass --recipe starter \\
        --shards data/starter/pretrain --out runs/starter/pretrain/superclass-seed0
    python -m baselines.pretrain --method clip_catlip --recipe starter \\
        --shards data/starter/pretrain --vocabulary runs/starter/vocabulary.json \\
        --labels-dir runs/starter/labels --out runs/starter/pretrain/clip_catlip-seed0
    """

    method: Annotated[str, one_of(baseline_names())] = "clip"
    """Method to train with."""
    packed_captions: bool = field(default=False, metadata=OMIT_DEFAULT)
    """Do not compute the padding of captions in the text tower. Weights differ only by rounding,
    and a run may go on with or without it."""


def recipes_of(method: str) -> dict[str, Recipe]:
    """A method's recipes by name: CLIP's, but without its temperature for other methods, and with a
    starter and photos of its own for a method that was tuned. CatLIP's loss has CatLIP's.
    """
    if method == "clip":
        return CLIP
    facts = methods().get(method)
    if facts and facts.asks == BINARY:
        return CATLIP
    recipes = {name: replace(recipe, temperature=None) for name, recipe in CLIP.items()}
    if method in STARTERS:
        recipes["starter"] = STARTERS[method]
        recipes["photos"] = PHOTOS.get(method, photos_recipe(STARTERS[method]))
    return recipes


def method_of(config: PretrainBaseline) -> "Method":
    import torch

    from baselines.methods import BASELINES
    from baselines.openclip import CaptionTokenizer, TwoTowers
    from baselines.subwords import count_subwords, is_countable, subword_classes
    from catlip.pretraining.method import Method, classes_of, encoder_of
    from catlip.weights.checkpoint import identity_in

    method = choose("method", config.method, BASELINES)
    recipe = config.recipe
    towers = method if issubclass(method, TwoTowers) else TwoTowers
    text = towers.tower(recipe.encoder, recipe.text_context)
    classes = None
    if "labels" in method.needs:
        are_nouns = method.classes == "nouns"
        classes = classes_of(config) if are_nouns else subword_classes(config, text.context)
    if config.packed_captions and not issubclass(method, TwoTowers):
        raise InputError(f"--packed-captions: {method.label} has no text tower")

    def build() -> "Objective":
        base_rates = classes.base_rates if classes else torch.empty(0)
        objective = method.build(encoder_of(recipe), recipe.encoder, base_rates)
        if isinstance(objective, TwoTowers) and objective.text != text:
            objective.set_text_tower(text)
        # A dry run has no captions, of whose padding it could know.
        if config.packed_captions and not config.dry_run and isinstance(objective, TwoTowers):
            objective.pack_captions()
        return objective

    def drop_unread_rows(objective: "Objective", shards: "ShardSet") -> dict[str, int]:
        """The rows of tokens that no caption has, where all captions can be counted in a minute.
        A run that was begun with them keeps them, as those from before any were dropped.
        """
        if not isinstance(objective, TwoTowers) or not tokenize:
            return {}
        begun = identity_in(config.out)
        if not (is_countable(shards) if begun is None else "tokens" in begun):
            return {}
        rows = count_subwords(shards, text.context, config.quiet).rows
        objective.share_rows(rows)
        return {"tokens": int(rows.max())}

    tokenize = CaptionTokenizer(text.context) if "tokens" in method.needs else None
    return Method(build, classes, tokenize=tokenize, fit=drop_unread_rows)


def main(config: PretrainBaseline) -> None:
    from catlip.pretraining.run import pretrain

    if record := pretrain(config, method_of(config)):
        print(record)


if __name__ == "__main__":
    recipes = recipes_of(take_option(sys.argv[1:], "method", PretrainBaseline.method)[0])
    run(
        PretrainBaseline, main, {name: PretrainBaseline(recipe) for name, recipe in recipes.items()}
    )
