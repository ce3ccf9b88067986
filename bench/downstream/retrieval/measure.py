"""Scores every caption for every image, and counts how often the right one comes first.

An encoder with a text tower scores by the cosine of its embeddings. CatLIP has no text tower; its
classifier knows how likely an image shows a noun. Its score of an image and a caption is the mean,
over the classes that the caption names, of

    log p(class | image) - log p(class),

where p(class) is the fraction of the training captions that name it: what the image tells of the
caption (their pointwise mutual information), however frequent the nouns are and however many. The
caption is labelled by the rule and the vocabulary of the run; one that names no class tells nothing
and has score 0. It is the best of five that were tried on images that are not tested on
(docs/found-once.md).

SuperClass, and CatLIP with a softmax, have the softmax's probabilities; SuperClass's classes are
the subwords of the caption, and p(class) is from its counts in training.
"""

import heapq
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from itertools import chain
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import hypergeom
from torch import Tensor

from bench.downstream.outputs import data_name
from bench.downstream.probe.datasets import Split
from bench.downstream.probe.features import extract
from bench.downstream.probe.readouts import Towers, has_classifier, towers_of
from bench.downstream.retrieval import result
from bench.downstream.retrieval.config import Retrieval
from bench.downstream.retrieval.result import CUTS, RETRIEVAL, ComparedBy, Recall
from catlip import streams
from catlip.captions import labeller_of
from catlip.cli import InputError
from catlip.data.layout import TABLES, has_tars, split_of
from catlip.data.loader import RaggedLabels
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand
from catlip.data.tar_index import captions_in
from catlip.data.user_images import find_user_images, open_user_images
from catlip.encoders.load import LoadedEncoder, load_encoder
from catlip.pretraining.method import UNKNOWN_LABELS_PER_CAPTION
from catlip.program.identity import is_recorded
from catlip.program.progress import progress
from catlip.records.record import Record, note_data
from catlip.records.table import print_tables
from catlip.system.urls import is_remote
from catlip.training.distributed import init_distributed
from catlip.vocabulary import Vocabulary
from catlip.weights.checkpoint import Checkpoint, vocabulary_of

QUERIES = 256  # ranked at a time
Image = Callable[[], bytes]
ClassesOf = Callable[[Sequence[str]], RaggedLabels]
# Features [n, D] and m captions -> scores [m, n] float32, and how many captions name no class (None
# where captions are embedded).
Scorer = Callable[[Tensor, list[str]], tuple[Tensor, int | None]]


def main(config: Retrieval) -> None:
    encoder = load_encoder(config.encoder, config.seed, init_distributed(config.device).device)
    if is_recorded(config.out, config, {"encoder_digest": encoder.digest()}, say=True):
        return
    compared_by, score = scorer_of(encoder, config)
    split, captions_of = draw_images(config)
    with Record(config.out, kind=result.Retrieval, config=config) as record:
        record.notes.append(f"images: {encoder.preprocess}")
        name = data_name(config.data).removeprefix("folder-")
        if split_of(name):  # whose split it is
            name = f"{Path(config.data).resolve().parent.name}-{name}"
        digest = sha256("\n".join(chain.from_iterable(captions_of)).encode()).hexdigest()
        note_data({name: split.identity() | {"captions_digest": digest[:16]}})
        features = extract(encoder, split, config)
        features.broken.note(record)
        kept = [captions_of[number] for number in features.numbers.tolist()]
        counts = torch.tensor([len(captions) for captions in kept])
        images = torch.arange(len(kept))
        owners = images.repeat_interleave(counts)  # [captions], the image of each
        with torch.inference_mode():
            scores, without = score(features.values, [*chain.from_iterable(kept)])
        if not scores.isfinite().all():  # a NaN would come before everything
            raise InputError("some scores are not finite: the weights are broken")
        scores = scores.cpu()
        image_to_text = ranks(scores.T, images, owners, seed=config.seed)
        text_to_image = ranks(scores, owners, images, seed=config.seed)
        run = record.finish(
            result.Retrieval(
                broken=features.broken.counts(),
                method=encoder.method,
                pretrain_seed=encoder.pretrain_seed,
                encoder_digest=encoder.digest(),
                data=name,
                compared_by=compared_by,
                num_images=len(images),
                num_captions=len(owners),
                captions_without_class=without,
                image_to_text=recall(image_to_text),
                text_to_image=recall(text_to_image),
                image_to_text_chance=chance(counts.tolist(), len(owners)),
                text_to_image_chance=chance([1], len(images)),
            )
        )
        print_tables([RETRIEVAL.fill([run])])
    print(f"wrote {config.out}")


# Images and their captions


def draw_images(config: Retrieval) -> tuple[Split, list[list[str]]]:
    """At most `max_images` images, drawn by the seed among those that have a caption, and the
    captions of each, in the order of the data. Raises: InputError if there are fewer than two.
    """
    draw = streams.generator(config.seed, streams.RETRIEVAL)
    every = progress(samples(config), desc="captions", unit="image", disable=config.quiet)
    drawn = (
        (draw.random(), number, key, captions, image)
        for number, (key, captions, image) in enumerate(every)
        if captions
    )
    chosen = heapq.nsmallest(config.max_images, drawn, key=itemgetter(0))
    if len(chosen) < 2:
        raise InputError(f"{config.data} has {len(chosen)} images with a caption; give two or more")
    chosen.sort(key=itemgetter(1))
    _, _, keys, captions_of, images = zip(*chosen, strict=True)
    unlabelled = np.zeros(len(keys), np.int64)
    split = Split(Path(config.data), keys, unlabelled, image_bytes=partial(_image, images))
    return split, [*captions_of]


def samples(config: Retrieval) -> Iterator[tuple[str, list[str], Image]]:
    """Key, captions that are not blank, and image of each sample."""
    path = Path(config.data)
    is_folder = path.is_dir() and not has_tars(path)
    if not is_folder and (is_remote(path) or path.suffix.lower() not in TABLES):
        shards = open_shards(expand(config.data), config.quiet, [config.data])
        for shard in map(shards.__getitem__, range(len(shards))):
            for number, key in enumerate(shard.keys):
                yield key, _texts(shard.captions(number)), partial(shard.image_bytes, number)
        return
    for table in find_user_images(path) if is_folder else [path]:
        own = open_user_images(table, held_out=True)
        print(own)
        for key, members in own.samples(config.max_broken):
            metadata = json.loads(members["json"])
            yield key, _texts(captions_in(metadata)), partial(bytes, members["jpg"])


def _texts(captions: Sequence[str | None]) -> list[str]:
    return [caption for caption in captions if caption and caption.strip()]


# A function of the module, because it is sent to worker processes.
def _image(images: Sequence[Image], number: int) -> bytes:
    return images[number]()


# Scores


def scorer_of(encoder: LoadedEncoder, config: Retrieval) -> tuple[ComparedBy, Scorer]:
    """Raises: InputError for an encoder that can compare no image with a caption."""
    if towers := towers_of(encoder, config.encoder):
        return "embeddings", partial(cosines, towers)
    from baselines.methods import BASELINES
    from baselines.superclass import Superclass

    checkpoint = encoder.checkpoint
    method = BASELINES.get(checkpoint.config.get("method", "")) if checkpoint else None
    classes_of: ClassesOf
    is_softmax = method is not None and issubclass(method, Superclass)
    if checkpoint and has_classifier(encoder):
        vocabulary = vocabulary_of(checkpoint, config.encoder, config.vocabulary)
        check_labelling(vocabulary)
        classes_of, log_rates = vocabulary.targets, rates(vocabulary)
    elif checkpoint and is_softmax:
        classes_of, log_rates = subwords_of(checkpoint)
    else:
        raise InputError(
            f"{config.encoder} compares no image with a caption: it has neither a text tower that "
            "reads sentences nor a classifier of nouns or subwords"
        )
    weight, bias = (checkpoint.classifier[name].float().cpu() for name in ("weight", "bias"))

    def score(features: Tensor, captions: list[str]) -> tuple[Tensor, int]:
        classes = classes_of(captions)
        logits = F.linear(features.cpu(), weight, bias)
        told = logits.log_softmax(1) if is_softmax else F.logsigmoid(logits)
        used, numbers = classes.values.unique(return_inverse=True)
        told = (told[:, used] - log_rates[used]).T.contiguous()
        # The same sum for captions with the same classes, which a product would round differently.
        scores = F.embedding_bag(numbers, told, classes.offsets[:-1], mode="mean")
        return scores, int((classes.offsets.diff() == 0).sum())

    return "nouns" if has_classifier(encoder) else "subwords", score


def cosines(towers: Towers, features: Tensor, captions: list[str]) -> tuple[Tensor, None]:
    """[captions, images], the cosines of the embeddings."""
    return towers.cosines(towers.embed_texts(captions))(features).T, None


def check_labelling(vocabulary: Vocabulary) -> None:
    labeller = labeller_of(vocabulary.rule, vocabulary.words).version
    if labeller != vocabulary.label_version:
        raise InputError(
            f"the vocabulary was made by {vocabulary.label_version}, but captions are labelled by "
            f"{labeller} now"
        )


def rates(vocabulary: Vocabulary) -> Tensor:
    """[V] float32, the logs of the fractions of training captions that name each class. The
    release's vocabulary does not say how many captions were counted.
    """
    counts = torch.tensor([synset.count for synset in vocabulary.synsets], dtype=torch.float64)
    captions = vocabulary.source.captions or counts.sum().item() / UNKNOWN_LABELS_PER_CAPTION
    return (counts / captions).log().float()


def subwords_of(checkpoint: Checkpoint) -> tuple[ClassesOf, Tensor]:
    """The same of a classifier of subwords: what gives captions' classes, and the log rates [V]."""
    from baselines.idf import distinct_subwords
    from baselines.openclip import CaptionTokenizer, text_tower

    context = checkpoint.config.get("text_context")
    tokenize = CaptionTokenizer(text_tower(checkpoint.encoder_name, context).context)

    def classes_of(captions: Sequence[str]) -> RaggedLabels:
        subwords, present = distinct_subwords(tokenize([*captions]))
        counts = present.view(len(captions), -1).sum(1)
        return RaggedLabels(subwords.values[present], F.pad(counts.cumsum(0), (1, 0)))

    with_subword, seen = (checkpoint.rest[f"idf.captions_{name}"] for name in ("with", "seen"))
    return classes_of, (with_subword + 1).log() - (seen + 1).log()


# Ranks


def ranks(scores: Tensor, query_images: Tensor, answer_images: Tensor, seed: int) -> Tensor:
    """[queries] int64: how many answers come before the first right one, which is one of the same
    image. Equal scores are put in an order drawn by the seed, so that a tie is no hit.

    Args:
        scores: [queries, answers].
        query_images, answer_images: [queries] and [answers], the image that each belongs to.
    """
    draw, before = torch.Generator().manual_seed(seed), []
    parts = zip(scores.split(QUERIES), query_images.split(QUERIES), strict=True)
    for of_query, images in parts:
        is_right = images[:, None] == answer_images
        best = of_query.masked_fill(~is_right, -torch.inf).amax(1, keepdim=True)
        is_equal, order = of_query == best, torch.rand(of_query.shape, generator=draw)
        first = order.masked_fill(~(is_right & is_equal), torch.inf).amin(1, keepdim=True)
        before.append(((of_query > best) | (is_equal & (order < first))).sum(1))
    return torch.cat(before)


def recall(before: Tensor) -> Recall:
    return Recall(*((before < cut).double().mean().item() for cut in CUTS))


def chance(num_right: Sequence[int], num_answers: int) -> Recall:
    """Of queries that have so many right answers each, in an order drawn at random."""
    cuts = [min(cut, num_answers) for cut in CUTS]
    misses = hypergeom.pmf(0, num_answers, np.array(num_right)[:, None], cuts)
    return Recall(*(1 - misses.mean(0)).tolist())
