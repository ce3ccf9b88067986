"""`python -m catlip.weights convert` and `python -m catlip.weights show`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from catlip.cli import Program, run


@dataclass(frozen=True)
class Convert:
    """Convert weights exactly to timm's layout, as a folder for timm and for the Hugging Face hub.

    python -m catlip.weights convert vit_base.pt --out vit_base
    python -m catlip.weights convert runs/cc3m/pretrain/catlip-seed0 --out catlip-cc3m
    python -m catlip.weights show vit_base.pt

    What is read: the release's pre-training, classification, multi-label, DeepLabv3, Mask R-CNN and
    CLIP checkpoints of ViT B, L and H (torch.save or safetensors); the folder of a finished run,
    its weights.safetensors and its checkpoints/step-*.pt; and what this program wrote. Every weight
    is accounted for, or the file is refused.

    The folder has the encoder and a linear classifier, under the names of timm's VisionTransformer,
    in model.safetensors; a config.json; and a model card in README.md, with what records beside the
    run say of its training and its accuracies. timm.create_model("local-dir:FOLDER",
    pretrained=True) builds the model from it, and "hf-hub:" does once it is uploaded. No model of
    timm has the release's stem of three convolutions, and because of the GELU between them it
    cannot be merged into one convolution: the call then needs
    embed_layer=catlip.encoder.STEMS["conv"], and likewise for the hybrid stem. What opens it is
    printed, and so are dropped weights with the reason, all of which the metadata of
    model.safetensors lists. Where the classes are nouns, pretrained_cfg["label_names"] has them,
    with definitions in "label_descriptions".
    """

    file: tyro.conf.Positional[Path]
    """The checkpoint, or the folder of a finished run."""
    out: Path
    """A folder."""
    vocabulary: Path | None = None
    """The vocabulary that names the classes; by default the one that the record beside a run's
    folder names.
    """


@dataclass(frozen=True)
class Show:
    """Describe a file of weights: layout, encoder, method, classifier; or say what is wrong.

    python -m catlip.weights show vit_base.pt
    python -m catlip.weights show runs/starter/pretrain/catlip-seed0
    """

    file: tyro.conf.Positional[Path]
    """A checkpoint, or the folder of a finished run."""


CONVERT, SHOW = "catlip.weights.convert:convert", "catlip.weights.convert:show"

if __name__ == "__main__":
    subcommands: dict[str, Program] = {"convert": (Convert, CONVERT), "show": (Show, SHOW)}
    run(Convert, CONVERT, subcommands=subcommands)
