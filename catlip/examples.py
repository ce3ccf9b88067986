"""Some samples as training sees them: image, caption, its tagged words, and the nouns' classes."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from PIL import Image

from catlip.captions import labeller_of
from catlip.cli import run
from catlip.data.decode import open_picture, rgb
from catlip.data.shards import expand, open_shard
from catlip.label import result
from catlip.program.ranges import Count
from catlip.records.kind import plain
from catlip.records.record import Record
from catlip.system.foreign import printable
from catlip.vocabulary import Vocabulary

MAX_CHARACTERS = 300  # of each caption that a record keeps
LARGEST, QUALITY = 320, 85  # pixels of the longer side of a picture there, and of its JPEG


@dataclass(frozen=True)
class Examples:
    """Write some samples, evenly spread over the shards, into a record for the report. Each has the
    caption that it has in a training's first epoch with seed 0.

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
    vocabulary, paths = Vocabulary.load(config.vocabulary), expand(config.shards)
    labeller = labeller_of(vocabulary.rule, vocabulary.words)
    samples = []
    with Record(config.out, result.Examples, config) as record:
        shards = [open_shard(paths[number]) for number in spread_evenly(len(paths), config.count)]
        per_shard, rest = divmod(config.count, len(shards))
        for position, shard in enumerate(shards):
            for number in spread_evenly(len(shard), per_shard + (position < rest)):
                caption = shard.caption(number, shard.draw_caption(number, seed=0, epoch=0)) or ""
                classes, _ = vocabulary.classes([caption])
                caption, image = caption[:MAX_CHARACTERS], None
                try:
                    image = encode_image(rgb(open_picture(shard.image_bytes(number))))
                except ValueError:
                    key = f"{shard.path.name}: {shard.keys[number]}"
                    record.notes.append(f"{key} has no readable image")
                words = [
                    (word.word, word.tag, "" if word.reason else word.synset)
                    for word in labeller.explain(caption)
                ]
                sample = result.Example(
                    key=shard.keys[number],
                    caption=caption,
                    classes=[vocabulary.synsets[class_id].name for class_id in classes],
                    words=words,
                    image=image,
                )
                samples.append(sample)
        record.samples["pictures"] = plain(samples, is_sparse=True)
        record.finish(result.Examples(rule=vocabulary.rule, num_classes=len(vocabulary)))
    for sample in samples:
        print(f"{printable(sample.caption)}\n    {', '.join(sample.classes) or '(no class)'}")
    print(f"wrote {config.out}")


def spread_evenly(count: int, wanted: int) -> Sequence[int]:
    """Numbers below `count`, at most `wanted` of them, evenly spread."""
    wanted = min(count, wanted)
    return [count * number // wanted for number in range(wanted)]


def encode_image(picture: Image.Image) -> str:
    """A picture as a JPEG in base64, its longer side at most LARGEST pixels."""
    buffer = io.BytesIO()
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    run(Examples, main)
