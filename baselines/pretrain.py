"""Pre-train the same image encoder with a baseline: the same data path, loop and recipes as
`catlip.pretrain`.
"""

from dataclasses import dataclass

from baselines.methods import BASELINES
from baselines.openclip import CaptionTokenizer, text_tower
from catlip.cli import choose, run
from catlip.pretrain import PretrainRun, encoder_of, pretrain
from catlip.recipes import CLIP


@dataclass(frozen=True)
class PretrainBaseline(PretrainRun):
    """Pre-train an image encoder with a baseline; run the same command again to go on where it
    stopped.

    python -m baselines.pretrain --method clip --recipe starter --shards data/starter/pretrain \\
        --out runs/starter/pretrain/clip-seed0
    python -m baselines.pretrain --method superclass --recipe starter \\
        --shards data/starter/pretrain --out runs/starter/pretrain/superclass-seed0
    """

    method: str = "clip"
    """What to train with: clip, siglip or superclass; clip_nonlocal and siglip_gather exchange
    features in another way.
    """


def main(config: PretrainBaseline) -> None:
    """Train the baseline."""
    objective = choose("method", config.method, BASELINES)
    text = text_tower(config.recipe.encoder)
    record = pretrain(
        config,
        config.method,
        lambda: objective(encoder_of(config.recipe), text),
        {},
        tokenize=CaptionTokenizer(text.context),
    )
    if record:
        print(record)


if __name__ == "__main__":
    run(PretrainBaseline, main, {name: PretrainBaseline(recipe) for name, recipe in CLIP.items()})
