"""Linear probe: how well do a frozen encoder's features separate classes that it was never trained
on?  (Section 4, Table 7a)

As the paper does it, a classifier is trained on augmented images through the frozen encoder. With
`--cached-features` the features of the images as they are, without augmentation, are computed once,
standardised by the training images' mean and deviation, and the classifier is trained on those:
seconds instead of hours. The two do not give the same number.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import tyro

from bench.downstream.classify.cached_features import CACHED_NOTE, CachedFeatures
from bench.downstream.classify.classification import Score, train_classifier
from bench.downstream.classify.fit import fitting
from bench.downstream.classify.sweep import Fit, Sweep, run_of, sweep
from bench.downstream.encoders.load import LoadedEncoder, load_encoder
from bench.downstream.outputs import BY_NAME, is_written
from catlip.cli import InputError, run
from catlip.dry_run import print_transfer
from catlip.recipes.transfer import PROBES
from catlip.record import Record
from catlip.training.distributed import Place, find_place


@dataclass(frozen=True)
class LinearProbe(Sweep):
    """Train a linear classifier on the frozen features of an encoder.

    python -m bench.downstream.linear_probe --encoder runs/starter/pretrain/catlip-seed0 \\
        --data starter:data/starter

    python -m bench.downstream.linear_probe --recipe table_7a \\
        --encoder runs/cc3m/pretrain/catlip-seed0 --data imagenet:DIR

    python -m bench.downstream.linear_probe --recipe table_7a --cached-features \\
        --encoder released:vit_b16 --data imagenet:DIR --fraction 0.01 0.1 1 \\
        --init random transfer --vocabulary datacomp_1_2B_vocab.pkl

    An interrupted run goes on where it stopped, and under torchrun it uses every device; with
    cached features neither.
    """

    protocol: ClassVar[str] = "probe"

    out: Path = Path("runs/bench/linear_probe") / BY_NAME
    """The record to write; runs go into a folder of the same name."""
    cached_features: bool = False
    """Compute features once, without augmentation, at the encoder's own resolution, and train on
    them.
    """


def main(config: LinearProbe) -> None:
    """Probe, print, write the record."""
    place = find_place(config.device)
    if config.dry_run:
        print_transfer(config.recipe, config.protocol, place)
        return
    encoder = load_encoder(
        config.encoder,
        config.seed,
        place.device,
        resolution=0 if config.cached_features else config.recipe.resolution,
    )
    if is_written(config.out, config, encoder.digest(), say=place.is_main):
        return
    record = Record(config.out, kind="linear_probe", config=config)
    with record if place.is_main else nullcontext():
        if config.cached_features:
            if place.world_size > 1:
                raise InputError(
                    "--cached-features takes one process; without it, torchrun uses all devices"
                )
            record.notes.append(CACHED_NOTE)
            fit: Callable[[Fit], Score] = cached_features(config, encoder)
        else:
            fit = partial(_through_the_encoder, config, encoder, place=place)
        sweep(config, encoder, record, fit=fit, say=place.is_main)
    if place.is_main:
        print(f"wrote {record.path}")


def cached_features(config: LinearProbe, encoder: LoadedEncoder) -> CachedFeatures:
    """What fits the classifiers of a probe with `--cached-features`."""
    return CachedFeatures(
        encoder,
        config.recipe,
        num_workers=config.num_workers,
        quiet=config.quiet,
        max_broken=config.max_broken,
    )


def _through_the_encoder(
    config: LinearProbe, encoder: LoadedEncoder, place: Place, fit: Fit
) -> Score:
    run_of_fit = run_of(
        fit, config, fitting(config.recipe, encoder), encoder=encoder, place=place, frozen=True
    )
    return train_classifier(run_of_fit, encoder, fit.head, train_split=fit.train, task=fit.task)


RECIPES = {
    name: LinearProbe(
        recipe, encoder=tyro.MISSING, data=tyro.MISSING, cached_features=name == "starter"
    )
    for name, recipe in PROBES.items()
}

if __name__ == "__main__":
    run(LinearProbe, main, RECIPES)
