"""What an encoder knows before anything is trained on its features: k nearest neighbours, and
zero-shot classification by prompts.

CatLIP has no text tower, but its classifier has a row for each noun of its vocabulary. The rows
that Transfer Init would copy are used as a classifier; a label without a row is never predicted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.downstream.probe import result
from bench.downstream.probe.config import Readouts, TransferOptions
from bench.downstream.probe.datasets import IMAGENET, WNID, Task, load_tasks
from bench.downstream.probe.features import Extractor, Features, hits
from bench.downstream.probe.result import TaskResult, ZeroShotMethod
from catlip.cli import InputError
from catlip.encoders.libraries import openclip_model
from catlip.encoders.load import LoadedEncoder, load_encoder
from catlip.program.broken import BrokenImages
from catlip.program.identity import is_recorded
from catlip.records.record import Record
from catlip.training.distributed import init_distributed
from catlip.transfer_init import Origin
from catlip.transfer_init.head import transfer_rows
from catlip.vocabulary.label_sets import LabelSet
from catlip.weights.checkpoint import vocabulary_of
from catlip.words.wordnet import nouns

# The temperature of a vote, and k = 20, are from Wu et al. 2018 and DINO (Caron et al. 2021).
TEMPERATURE = 0.07
TEST_BATCH, TEXT_BATCH = 1024, 256
Template = Callable[[str], str]
PLAIN_TEMPLATES = ("{}".format, "a picture of a {}.".format, "a drawing of a {}.".format)
# Choices of templates, in words; with several templates, a class has their mean.
TEMPLATES: dict[str, Sequence[Template]] = {
    "the bare name": PLAIN_TEMPLATES[:1],
    "a picture of a NAME.": PLAIN_TEMPLATES[1:2],
    "a drawing of a NAME.": PLAIN_TEMPLATES[2:],
    "the mean of all three": PLAIN_TEMPLATES,
}
MAX_SCALE = 100.0  # of CLIP's temperature
Scores = Callable[[Tensor], Tensor]  # features [n, D] -> scores [n, classes]


def main(config: Readouts) -> None:
    encoder = load_encoder(config.encoder, config.seed, init_distributed(config.device).device)
    if is_recorded(config.out, config, {"encoder_digest": encoder.digest()}, say=True):
        return
    with Record(config.out, kind=result.Readouts, config=config) as record:
        record.notes.append(f"images: {encoder.preprocess}")
        broken = BrokenImages()
        tasks: dict[str, TaskResult] = {}
        features = Extractor(encoder, config)
        for task in load_tasks(config.data):
            task.note_in(record)
            train, test = features(task.train), features(task.test)
            broken.add([*train.broken.images(), *test.broken.images()])
            broken.note(record)
            top1, top5 = neighbour_hits(train, test, task.num_classes, config.neighbours)
            on_task = TaskResult(
                num_classes=task.num_classes, num_test=len(test), knn_top1=top1, knn_top5=top5
            )
            line = f"{encoder.method:8} {task.name:10} nearest neighbours {top1:.3f}"
            if scores := zero_shot(config, encoder, task, train=train, record=record):
                top1, top5 = hits(scores(test.values), test.labels).double().mean(0).tolist()
                on_task = replace(on_task, zero_shot_top1=top1, zero_shot_top5=top5)
                line += f"  zero-shot {top1:.3f}"
            tasks[task.name] = on_task
            method: ZeroShotMethod = "classifier rows" if has_classifier(encoder) else "prompts"
            is_zero_shot = any(one.zero_shot_top1 is not None for one in tasks.values())
            record.finish(
                result.Readouts(
                    broken=broken.counts(),
                    method=encoder.method,
                    pretrain_seed=encoder.pretrain_seed,
                    encoder_digest=encoder.digest(),
                    zero_shot=method if is_zero_shot else None,
                    tasks=tasks,
                )
            )
            print(line)
    print(f"wrote {record.path}")


@torch.inference_mode()
def neighbour_hits(
    train: Features, test: Features, num_classes: int, neighbours: int
) -> tuple[float, float]:
    """Top-1 and top-5 accuracy: the training images of the highest cosine similarity vote."""
    known = F.normalize(train.values, dim=1)
    counts = torch.zeros(2, dtype=torch.int64, device=known.device)
    parts = zip(test.values.split(TEST_BATCH), test.labels.split(TEST_BATCH), strict=True)
    for values, labels in parts:
        cosines = F.normalize(values, dim=1) @ known.T
        near, numbers = cosines.topk(min(neighbours, len(known)))
        votes = torch.zeros(len(near), num_classes, device=near.device)
        votes.scatter_add_(1, train.labels[numbers], (near / TEMPERATURE).exp())
        counts += hits(votes.masked_fill(votes == 0, -torch.inf), labels).sum(0)
    top1, top5 = (counts / len(test)).tolist()
    return top1, top5


def zero_shot(
    config: Readouts, encoder: LoadedEncoder, task: Task, *, train: Features, record: Record
) -> Scores | None:
    """Scores of a task's classes; None for an encoder that cannot classify zero-shot."""
    if not has_classifier(encoder):
        towers = towers_of(encoder, config.encoder)
        if towers is None:
            return None
        rows, words = choose_prompts(towers, task, train)
        record.notes.append(f"{task.name}: prompts are {words}")
        return towers.cosines(rows)
    try:
        head, origins = transfer_head(
            encoder, config.encoder, task.labels, options=config.transfer, seed=config.seed
        )
    except InputError as error:
        record.notes.append(f"{task.name} was not classified zero-shot: {error}")
        return None
    unmatched = [number for number, origin in enumerate(origins) if not origin.matched]
    head.to(encoder.device)
    record.samples[f"origins_{task.name}"] = [origin.row() for origin in origins]

    @torch.inference_mode()
    def score(features: Tensor) -> Tensor:
        scores: Tensor = head(features)
        scores[:, unmatched] = -torch.inf
        return scores

    return score


def transfer_head(
    encoder: LoadedEncoder,
    spelling: str,
    labels: LabelSet,
    options: TransferOptions,
    seed: int,
    copy_bias: bool = False,
) -> tuple[nn.Linear, Sequence[Origin]]:
    """A linear classifier over `labels`, made of the rows that pre-training learnt for the same
    nouns (random ones for labels without a class), and the origin of each row.
    """
    vocabulary = vocabulary_of(encoder.checkpoint, spelling, options.vocabulary)
    assert encoder.checkpoint is not None, "refused above"
    head = transfer_rows(
        encoder.checkpoint.classifier["weight"],
        encoder.checkpoint.classifier["bias"],
        vocabulary,
        labels=labels,
        alpha=options.alpha,
        copy_bias=copy_bias,
        seed=seed,
    )
    if not any(origin.matched for origin in head.origins):
        raise InputError(f"none of {labels.name}'s labels has a class at alpha {options.alpha:g}")
    linear = nn.Linear(head.weight.shape[1], len(head.bias))
    linear.load_state_dict({"weight": head.weight.float(), "bias": head.bias.float()})
    return linear, head.origins


def has_classifier(encoder: LoadedEncoder) -> bool:
    """Whether it has a classifier over a vocabulary of nouns (SuperClass's is over subwords)."""
    return encoder.checkpoint is not None and encoder.checkpoint.has_nouns


@dataclass(frozen=True)
class Towers:
    """How an encoder compares images with texts: tokens to [n, joint], and features [n, D] to
    [n, joint]. Cosines times `scale` are the logits that it was trained with.
    """

    tokenize: Callable[[list[str]], Tensor]
    embed: Callable[[Tensor], Tensor]
    project: Callable[[Tensor], Tensor]
    device: torch.device
    scale: float = 1.0

    @torch.inference_mode()
    def embed_texts(self, texts: list[str]) -> Tensor:
        """[n, joint] float32, of length 1."""
        parts = self.tokenize(texts).split(TEXT_BATCH)
        embedded = torch.cat([self.embed(part.to(self.device)) for part in parts])
        return F.normalize(embedded.float(), dim=1)

    def cosines(self, rows: Tensor) -> Scores:
        """The scores of classes with these unit vectors [classes, joint]."""

        @torch.inference_mode()
        def scores(features: Tensor) -> Tensor:
            return F.normalize(self.project(features).float(), dim=1) @ rows.T

        return scores


def towers_of(encoder: LoadedEncoder, spelling: str) -> Towers | None:
    """The towers of an OpenCLIP model or of a run; None for an encoder without a text tower."""
    checkpoint, device = encoder.checkpoint, encoder.device
    if spelling.startswith("openclip:"):
        import open_clip

        name, _, tag = spelling.removeprefix("openclip:").partition("/")
        model = openclip_model(name, tag).to(device).eval()
        project: Callable[[Tensor], Tensor]
        projection = getattr(model.visual, "proj", None)
        if isinstance(projection, nn.Parameter):
            project = partial(torch.matmul, other=projection)
        else:
            project = getattr(model.visual, "head", None) or nn.Identity()  # of towers from timm
        return Towers(open_clip.get_tokenizer(name), model.encode_text, project, device)
    if checkpoint is not None and any("text_encoder." in name for name in checkpoint.rest):
        from baselines.methods import BASELINES
        from baselines.openclip import CaptionTokenizer, TwoTowers

        rest = {name.removeprefix("objective."): each for name, each in checkpoint.rest.items()}
        method = BASELINES.get(checkpoint.config.get("method", ""), TwoTowers)
        if "tokens" not in method.needs:  # it reads nouns, not prompts
            return None
        towers = method if issubclass(method, TwoTowers) else TwoTowers
        text = towers.tower(checkpoint.encoder_name, checkpoint.config.get("text_context"))
        both: Any = TwoTowers(checkpoint.build(), text)
        for rows in (rest[name] for name in rest if name.endswith(".rows")):
            both.share_rows(rows)
        both.load_state_dict(rest, strict=False)  # without the temperature of its loss
        both.to(device).eval()
        scale = min(MAX_SCALE, rest["logit_scale"].exp().item())
        tokenize = CaptionTokenizer(text.context)
        return Towers(tokenize, both.text_encoder, both.projection, device, scale=scale)
    return None


def choose_prompts(towers: Towers, task: Task, train: Features) -> tuple[Tensor, str]:
    """The unit vectors [classes, joint] of a task's classes by the templates that are best on its
    training images, and in words which these are. ImageNet has CLIP's templates.
    """
    if task.name == "imagenet":
        from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

        return embed_classes(towers, task, OPENAI_IMAGENET_TEMPLATES), "CLIP's templates"
    best, chosen = -1.0, (torch.empty(0), "")
    tried = []
    for words, templates in TEMPLATES.items():
        rows = embed_classes(towers, task, templates)
        top1 = hits(towers.cosines(rows)(train.values), train.labels)[:, 0].double().mean().item()
        tried.append(f"{words} {100 * top1:.1f} %")
        if top1 > best:
            best, chosen = top1, (rows, words)
    return chosen[0], f"{chosen[1]} (on the training images: {', '.join(tried)})"


def names_head(
    encoder: LoadedEncoder, spelling: str, task: Task, train: Features
) -> tuple[nn.Linear, str]:
    """A linear classifier made of the embeddings of the classes' names, and the prompts in words.
    For an image whose projection has the mean length, its logits equal those in the method's loss.
    """
    towers = towers_of(encoder, spelling)
    if towers is None or not isinstance(towers.project, nn.Linear):
        raise InputError(f"{spelling} has no text tower, as a run of CLIP has one")
    rows, words = choose_prompts(towers, task, train)
    with torch.no_grad():
        length = towers.project(train.values).norm(dim=1).mean()
        head = nn.Linear(encoder.num_features, task.num_classes)
        head.weight.copy_(towers.scale / length * rows @ towers.project.weight)
        head.bias.zero_()
    return head, words


@torch.inference_mode()
def embed_classes(towers: Towers, task: Task, templates: Sequence[Template]) -> Tensor:
    """[classes, joint]: per class the mean of its prompts' unit vectors, as a unit vector."""
    rows = []
    for name in class_names(task):
        embedded = towers.embed_texts([template(name) for template in templates])
        rows.append(F.normalize(embedded.mean(0), dim=0))
    return torch.stack(rows)


def class_names(task: Task) -> list[str]:
    """Class names for prompts: OpenCLIP's for ImageNet's synsets; others without `_` and `-`."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    imagenet_names = dict(zip(IMAGENET, IMAGENET_CLASSNAMES, strict=True))
    synsets = set(nouns().offsets.tolist())
    names = []
    for label in task.labels.names:
        name = label
        if WNID.fullmatch(label) and int(label[1:]) in synsets:
            name = nouns().name(int(label[1:])).partition(".")[0]
        names.append(imagenet_names.get(label) or name.replace("_", " ").replace("-", " "))
    return names
