"""What an encoder knows before anything is trained on its features: k nearest neighbours, and
zero-shot classification by prompts.

CatLIP has no text tower, but its classifier has a row for each noun of its vocabulary. The rows
that Transfer Init would copy are used as a classifier; a label without a row is never predicted.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.downstream.encoders.libraries import openclip_model
from bench.downstream.encoders.load import LoadedEncoder, load_encoder
from bench.downstream.outputs import is_written
from bench.downstream.probe.datasets import IMAGENET, WNID, Task, load_tasks
from bench.downstream.probe.features import Extractor, Features, hits
from bench.downstream.probe.fit import has_classifier, transfer_head
from bench.downstream.probe.result import Readout, TaskResult, Way
from bench.downstream.readouts import Readouts
from catlip.cli import InputError
from catlip.program.broken import BrokenImages
from catlip.record import Record
from catlip.training.distributed import find_place
from catlip.weights.checkpoint import Checkpoint
from catlip.words.wordnet import nouns

# Of a neighbour's vote; this and k = 20: Wu et al. 2018 and DINO (Caron et al. 2021).
TEMPERATURE = 0.07
TEST_BATCH, TEXT_BATCH = 1024, 256
PLAIN_TEMPLATES = (
    lambda name: name,
    lambda name: f"a picture of a {name}.",
    lambda name: f"a drawing of a {name}.",
)

Scores = Callable[[Tensor], Tensor]  # features [n, D] -> scores [n, classes]


def read_out(config: Readouts) -> None:
    """Read out, print, write the record."""
    encoder = load_encoder(config.encoder, config.seed, find_place(config.device).device)
    if is_written(config.out, config, encoder.digest()):
        return
    with Record(config.out, kind=Readout, config=config) as record:
        record.notes.append(f"images: {encoder.preprocess}")
        broken = BrokenImages()
        tasks: dict[str, TaskResult] = {}
        features = Extractor(encoder.module, encoder.preprocess, config)
        for task in load_tasks(config.data):
            task.note_in(record)
            train, test = features(task.train), features(task.test)
            broken.add([*train.broken.images(), *test.broken.images()])
            broken.note(record)
            top1, top5 = neighbour_hits(train, test, task.num_classes, config.neighbours)
            result = TaskResult(
                num_classes=task.num_classes, num_test=len(test), knn_top1=top1, knn_top5=top5
            )
            line = f"{encoder.method:8} {task.name:10} nearest neighbours {top1:.3f}"
            if scores := zero_shot(config, encoder, task, record=record):
                top1, top5 = hits(scores(test.values), test.labels).double().mean(0).tolist()
                result = replace(result, zero_shot_top1=top1, zero_shot_top5=top5)
                line += f"  zero-shot {top1:.3f}"
            tasks[task.name] = result
            way: Way = "classifier rows" if has_classifier(encoder) else "prompts"
            is_zero_shot = any(one.zero_shot_top1 is not None for one in tasks.values())
            record.measured(
                Readout(
                    broken=broken.counts(),
                    method=encoder.method,
                    pretrain_seed=encoder.pretrain_seed,
                    encoder_digest=encoder.digest(),
                    zero_shot=way if is_zero_shot else None,
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
    counts = torch.zeros(2, dtype=torch.int64, device=train.labels.device)
    batches = zip(test.values.split(TEST_BATCH), test.labels.split(TEST_BATCH), strict=True)
    for values, labels in batches:
        nearest = (F.normalize(values, dim=1) @ known.T).topk(min(neighbours, len(train)))
        votes = torch.zeros(len(values), num_classes, device=values.device)
        votes.scatter_add_(1, train.labels[nearest.indices], (nearest.values / TEMPERATURE).exp())
        counts += hits(votes.masked_fill(votes == 0, -torch.inf), labels).sum(0)
    top1, top5 = (counts / len(test)).tolist()
    return top1, top5


def zero_shot(
    config: Readouts, encoder: LoadedEncoder, task: Task, record: Record
) -> Scores | None:
    """Scores of a task's classes; None for an encoder that cannot classify zero-shot."""
    if not has_classifier(encoder):
        return prompted_rows(encoder, config.encoder, task)
    try:
        head, origins = transfer_head(
            encoder, config.encoder, task.labels, options=config.transfer, seed=config.seed
        )
    except InputError as error:
        record.notes.append(f"{task.name} was not classified zero-shot: {error}")
        return None
    never = [number for number, origin in enumerate(origins) if not origin.matched]
    head.to(encoder.device)
    record.samples[f"origins_{task.name}"] = [origin.row() for origin in origins]

    @torch.inference_mode()
    def by_rows(features: Tensor) -> Tensor:
        scores: Tensor = head(features)
        scores[:, never] = -torch.inf
        return scores

    return by_rows


def prompted_rows(encoder: LoadedEncoder, spelling: str, task: Task) -> Scores | None:
    """The cosines of an encoder's features with the prompts of each class, by the text tower of an
    OpenCLIP model or of a run; None for an encoder without one.
    """
    project: Callable[[Tensor], Tensor]
    checkpoint, device = encoder.checkpoint, encoder.device
    if spelling.startswith("openclip:"):
        import open_clip

        name, _, tag = spelling.removeprefix("openclip:").partition("/")
        model = openclip_model(name, tag).to(device).eval()
        tokenize = open_clip.get_tokenizer(name)
        rows = embed_classes(model.encode_text, tokenize, task, device=device)
        projection = getattr(model.visual, "proj", None)
        if isinstance(projection, nn.Parameter):
            project = partial(torch.matmul, other=projection)
        else:
            project = getattr(model.visual, "head", None) or nn.Identity()  # of towers from timm
    elif checkpoint is not None and any("text_encoder." in name for name in checkpoint.rest):
        from baselines.openclip import CaptionTokenizer

        towers = _towers(checkpoint).to(device).eval()
        tokenize = CaptionTokenizer(towers.text.context)
        rows = embed_classes(towers.text_encoder, tokenize, task, device=device)
        project = towers.projection
    else:
        return None

    @torch.inference_mode()
    def cosines(features: Tensor) -> Tensor:
        return F.normalize(project(features), dim=1) @ rows.T

    return cosines


def _towers(checkpoint: Checkpoint) -> Any:
    """Both towers of a run of this project, with their weights."""
    from baselines.openclip import TwoTowers, text_tower

    rest = {name.removeprefix("objective."): tensor for name, tensor in checkpoint.rest.items()}
    text = text_tower(checkpoint.encoder_name, checkpoint.config)
    towers = TwoTowers(checkpoint.build(), text)
    towers.load_state_dict(rest, strict=False)  # without the temperature of its loss
    return towers


@torch.inference_mode()
def embed_classes(
    embed: Callable[[Tensor], Tensor],
    tokenize: Callable[[list[str]], Tensor],
    task: Task,
    device: torch.device,
) -> Tensor:
    """[classes, joint]: per class the mean of its prompts' unit vectors, as a unit vector."""
    rows = []
    for prompts in class_prompts(task):
        parts = tokenize(prompts).split(TEXT_BATCH)
        vectors = F.normalize(torch.cat([embed(part.to(device)) for part in parts]), dim=1)
        rows.append(F.normalize(vectors.mean(0), dim=0))
    return torch.stack(rows)


def class_prompts(task: Task) -> list[list[str]]:
    """The prompts of each class: CLIP's 80 templates and OpenCLIP's names of classes for ImageNet,
    three templates for any other task.
    """
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

    known = dict(zip(IMAGENET, IMAGENET_CLASSNAMES, strict=True))
    synsets = set(nouns().offsets.tolist())
    templates = OPENAI_IMAGENET_TEMPLATES if task.name == "imagenet" else PLAIN_TEMPLATES
    prompts = []
    for label in task.labels.names:
        name = label
        if label in known:
            name = known[label]
        elif WNID.fullmatch(label) and int(label[1:]) in synsets:
            name = nouns().name(int(label[1:])).partition(".")[0]
        if label not in known:
            name = name.replace("_", " ").replace("-", " ")
        prompts.append([template(name) for template in templates])
    return prompts
