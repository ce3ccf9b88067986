"""Zero-shot classification by prompts: the text tower embeds the names of the classes, and an image
gets the class of the nearest embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.downstream.classify.datasets import WNID, Task
from bench.downstream.encoders.libraries import openclip_model
from bench.downstream.encoders.load import LoadedEncoder
from catlip.vocabulary.label_sets import imagenet_synsets
from catlip.words.wordnet import nouns

PLAIN = (
    lambda name: name,
    lambda name: f"a picture of a {name}.",
    lambda name: f"a drawing of a {name}.",
)
TEXT_BATCH = 256
POSITIONS = "text_encoder.positional_embedding"  # [context, width]

Template = Callable[[str], str]


def prompted_rows(
    encoder: LoadedEncoder, spelling: str, task: Task
) -> Callable[[Tensor], Tensor] | None:
    """A function from features [n, D] of the encoder to their cosines [n, classes] with the
    prompts.

    None for an encoder without a text tower.
    """
    device = next(encoder.module.parameters()).device
    if spelling.startswith("openclip:"):
        return _of_openclip(spelling.removeprefix("openclip:"), task, device)
    checkpoint = encoder.checkpoint
    if checkpoint is not None and any("text_encoder." in name for name in checkpoint.rest):
        return _of_run(encoder, task, device)
    return None


def class_names(task: Task) -> list[str]:
    """The names of the classes in prompts.

    ImageNet's classes have OpenCLIP's names. All others keep their names, written as words.
    """
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    wnids = [f"n{synset:08d}" for synset in imagenet_synsets()]
    known = dict(zip(wnids, IMAGENET_CLASSNAMES, strict=True))
    return [known.get(name) or _in_words(name) for name in task.labels.names]


def _in_words(name: str) -> str:
    if WNID.fullmatch(name) and int(name[1:]) in set(nouns().offsets.tolist()):
        name = nouns().name(int(name[1:])).partition(".")[0]
    return name.replace("_", " ").replace("-", " ")


def templates(task: Task) -> Sequence[Template]:
    """The prompt templates: the 80 of CLIP's authors for ImageNet, three for anything else."""
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return OPENAI_IMAGENET_TEMPLATES if task.name == "imagenet" else PLAIN


def _of_openclip(rest: str, task: Task, device: torch.device) -> Callable[[Tensor], Tensor]:
    import open_clip

    name, _, tag = rest.partition("/")
    model = openclip_model(name, tag).to(device).eval()
    rows = embed_classes(model.encode_text, open_clip.get_tokenizer(name), task, device=device)
    projection = getattr(model.visual, "proj", None)
    head = getattr(model.visual, "head", None)  # of towers from timm

    def project(features: Tensor) -> Tensor:
        if isinstance(projection, nn.Parameter):
            return features @ projection
        return head(features) if head else features

    return _cosines(project, rows)


def _of_run(encoder: LoadedEncoder, task: Task, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The function of `prompted_rows`, by the two towers of a run of this project."""
    from baselines.openclip import CaptionTokenizer, TwoTowers, text_tower

    assert encoder.checkpoint is not None, "it has a text tower"
    positions = next(
        tensor for name, tensor in encoder.checkpoint.rest.items() if name.endswith(POSITIONS)
    )
    shape = replace(text_tower(encoder.checkpoint.encoder_name), context=len(positions))
    towers = TwoTowers(encoder.checkpoint.build(), shape)
    for part in ("projection", "text_encoder"):
        weights = {}
        for name, tensor in encoder.checkpoint.rest.items():
            own = name.removeprefix("objective.")
            if own.startswith(f"{part}."):
                weights[own.removeprefix(f"{part}.")] = tensor
        towers.get_submodule(part).load_state_dict(weights)
    towers.to(device).eval()
    tokenize = CaptionTokenizer(shape.context)
    rows = embed_classes(towers.text_encoder, tokenize, task, device=device)
    return _cosines(towers.projection, rows)


@torch.inference_mode()
def embed_classes(
    embed: Callable[[Tensor], Tensor],
    tokenize: Callable[[list[str]], Tensor],
    task: Task,
    device: torch.device,
) -> Tensor:
    """[classes, joint]: per class the mean of its prompts' unit vectors, as a unit vector."""
    rows = []
    for name in class_names(task):
        tokens = tokenize([template(name) for template in templates(task)])
        prompts = torch.cat([embed(part.to(device)) for part in tokens.split(TEXT_BATCH)])
        rows.append(F.normalize(F.normalize(prompts, dim=1).mean(0), dim=0))
    return torch.stack(rows)


def _cosines(project: Callable[[Tensor], Tensor], rows: Tensor) -> Callable[[Tensor], Tensor]:
    @torch.inference_mode()
    def scores(features: Tensor) -> Tensor:
        return F.normalize(project(features), dim=1) @ rows.T

    return scores
