"""Pre-train the same image encoder with a baseline: the same data path, loop and recipes as `catlip.pretrain`."""

from dataclasses import dataclass

from baselines.openclip import CaptionTokenizer, Contrastive, text_tower
from catlip.cli import choose, run
from catlip.encoder import build_encoder
from catlip.pretrain import PretrainRun, pretrain
from catlip.recipes import CLIP

METHODS = {"clip": Contrastive}


@dataclass(frozen=True)
class PretrainBaseline(PretrainRun):
    """Pre-train an image encoder with a baseline; run the same command again to go on where it stopped.

    python -m baselines.pretrain --method clip --recipe starter --shards data/starter/pretrain \\
        --out runs/starter/pretrain/clip-seed0
    """

    method: str = "clip"
    """What to train with: clip."""


def main(config: PretrainBaseline) -> None:
    """Train the baseline."""
    objective = choose("method", config.method, METHODS)
    encoder, resolution = config.recipe.encoder, config.recipe.resolution
    text = text_tower(encoder)
    record = pretrain(
        config,
        config.method,
        lambda: objective(build_encoder(encoder, resolution), text),
        {},
        tokenize=CaptionTokenizer(text.context),
    )
    print(record)


if __name__ == "__main__":
    run(PretrainBaseline, main, {name: PretrainBaseline(recipe) for name, recipe in CLIP.items()})
