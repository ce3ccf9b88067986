"""Draws test images, and reads out what each encoder makes of them."""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from bench.downstream.gallery import result
from bench.downstream.gallery.config import Gallery
from bench.downstream.gallery.result import EncoderScore, Picture
from bench.downstream.probe.datasets import Split, load_tasks
from bench.downstream.probe.features import extract, nearest_neighbours
from bench.downstream.probe.fit import fit_linear, random_head
from catlip import streams
from catlip.cli import InputError
from catlip.data.augment import centre_crop
from catlip.encoders.load import load_encoder
from catlip.program.broken import BrokenImages
from catlip.program.pictures import encode_image
from catlip.recipes.transfer import STARTER_PROBE
from catlip.records.kind import without_none
from catlip.records.record import Record
from catlip.training.distributed import init_distributed
from catlip.words.wordnet import nouns

PICTURES, QUERIES, NEIGHBOURS = 15, 4, 4  # the first pictures are queries
SIDE = 64  # pixels of a picture: 2 to 3 kB in base64


def main(config: Gallery) -> None:
    if not 1 <= len(config.encoders) <= 4:  # a record should stay below 400 kB
        raise InputError("--encoders: give one to four")
    # The starter has two tasks; this one has more images a class.
    task = min(load_tasks(config.data), key=lambda task: task.num_classes)
    draw = streams.generator(config.seed, streams.GALLERY)
    train, test = (
        split.take(np.sort(draw.permutation(len(split))[: config.max_images]))
        for split in (task.train, task.test)
    )
    synsets = zip(nouns().offsets, nouns().names, strict=True)
    words = {f"n{offset:08d}": name for offset, name in synsets}
    names = [words.get(name, name).removesuffix(".n.01") for name in task.labels.names]
    device = init_distributed(config.device).device
    encoders = [load_encoder(spelling, config.seed, device) for spelling in config.encoders]
    with Record(config.out, result.Gallery, config) as record:
        features = [
            [extract(one.module, one.preprocess, split, config) for split in (train, test)]
            for one in encoders
        ]
        # The test images that all encoders can read.
        numbers = reduce(np.intersect1d, [tested.numbers for _, tested in features])
        mixed = draw.permutation(len(numbers)).tolist()
        pictures = [picture(test, numbers[row], names) for row in mixed[:PICTURES]]

        scores, broken = list[EncoderScore](), BrokenImages()
        for encoder, (known, tested) in zip(encoders, features, strict=True):
            broken.add([*known.broken.images(), *tested.broken.images()])
            tested = tested.take(numbers)
            head = random_head(encoder.num_features, task.num_classes, config.seed)
            fitted = fit_linear(known, tested, head, "random", STARTER_PROBE, config.seed)
            _, nearest = nearest_neighbours(known.values, tested.values, NEIGHBOURS)
            right = (known.labels[nearest] == tested.labels[:, None]).double().mean().item()
            scores.append(EncoderScore(encoder.method, fitted.top1, right))
            print(
                f"{encoder.method:8} {task.name:10} linear classifier {fitted.top1:.3f}  nearest "
                f"images of the same class {right:.3f}"
            )
            predicted = [names[label] for label in fitted.predicted]
            for i, (row, one) in enumerate(zip(mixed, pictures, strict=False)):
                one.predicted.append(predicted[row])
                near = known.numbers[nearest[row].cpu().numpy()] if i < QUERIES else []
                one.neighbours.append([picture(train, number, names) for number in near])
        record.samples["pictures"] = without_none(pictures)
        broken.note(record)
        record.finish(
            result.Gallery(
                broken=broken.counts(),
                task=task.name,
                num_classes=task.num_classes,
                num_train=len(features[0][0]),
                num_test=len(numbers),
                encoders=scores,
            )
        )
    print(f"wrote {config.out}")


def picture(split: Split, number: int, names: Sequence[str]) -> Picture:
    """The central square of an image, as this project's encoders see it."""
    image = encode_image(centre_crop(split.image_bytes(number), SIDE))
    return Picture(key=split.keys[number], image=image, label=names[split.labels[number]])
