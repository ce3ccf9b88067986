"""Some samples as training sees them: image, caption, its tagged words, and the nouns' classes."""

from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from catlip.captions import Labeller
from catlip.cli import run
from catlip.data.decode import whole_pixels
from catlip.data.shards import Shard, expand, open_shard
from catlip.program.pictures import chosen, encoded_image
from catlip.program.ranges import Count
from catlip.record import Record
from catlip.results.kind import without_none
from catlip.system.foreign import printable
from catlip.vocabulary import Vocabulary
from catlip.words.wordnet import nouns

if TYPE_CHECKING:
    from catlip.label.result import Example

MAX_CHARACTERS = 300  # of each caption that a record keeps


@dataclass(frozen=True)
class Examples:
    """Write some samples, evenly spread over the shards, into a record for the report. Of several
    captions, each has the one of a training's first epoch with seed 0.

    python -m catlip.examples data/starter/pretrain --vocabulary runs/starter/vocabulary.json
    """

    shards: tyro.conf.Positional[tuple[str, ...]]
    """Paths or URLs, folders, globs or braces of image-caption shards (.tar)."""
    vocabulary: Path
    """A vocabulary, made by `python -m catlip.vocabulary`; its rule labels the captions."""
    count: Count = 12
    """Number of samples."""
    out: Path = Path("runs/examples/examples.json")
    """The record to write."""


def main(config: Examples) -> None:
    from catlip.label import result  # matplotlib takes a while to load

    vocabulary, paths = Vocabulary.load(config.vocabulary), expand(config.shards)
    labeller, classes = Labeller(vocabulary.rule), {synset.name for synset in vocabulary.synsets}
    pictures = []
    with Record(config.out, result.Examples, config) as record:
        shards = [open_shard(paths[number]) for number in chosen(len(paths), config.count)]
        per_shard, rest = divmod(config.count, len(shards))
        for position, shard in enumerate(shards):
            for number in chosen(len(shard), per_shard + (position < rest)):
                picture = _example(shard, number, labeller, classes)
                if not picture.image:
                    key = f"{shard.path.name}: {picture.key}"
                    record.notes.append(f"{key} has no readable image")
                pictures.append(picture)
        record.samples["pictures"] = list(map(without_none, pictures))
        record.measured(result.Examples(rule=vocabulary.rule, num_classes=len(vocabulary)))
    for picture in pictures:
        print(f"{printable(picture.caption)}\n    {', '.join(picture.classes) or '(no class)'}")
    print(f"wrote {config.out}")


def _example(shard: Shard, number: int, labeller: Labeller, classes: Set[str]) -> "Example":
    """The record's entry of a sample, without an image if that cannot be read."""
    from catlip.label.result import Example

    caption = shard.caption(number, shard.drawn(number, seed=0, epoch=0)) or ""
    names = [nouns().name(offset) for offset in labeller(caption)]
    image = None
    with suppress(ValueError):
        image = encoded_image(whole_pixels(shard.image_bytes(number)))
    return Example(
        key=shard.keys[number],
        caption=caption[:MAX_CHARACTERS],
        classes=[name for name in names if name in classes],
        too_rare=[name for name in names if name not in classes],
        words=[
            (word.token, word.tag, word.synset if word.kept else "")
            for word in labeller.explain(caption[:MAX_CHARACTERS])
        ],
        image=image,
    )


if __name__ == "__main__":
    run(Examples, main)
