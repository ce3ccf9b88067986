"""`python -m catlip.weights convert` and `python -m catlip.weights show`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from catlip.cli import Program, run


@dataclass(frozen=True)
class Convert:
    """Convert weights exactly to timm's layout, as a file or as a folder for the Hugging Face hub.

    python -m catlip.weights convert vit_base.pt --to timm --out vit_base.safetensors
    python -m catlip.weights convert vit_base.pt --to huggingface --out vit_base/
    python -m catlip.weights convert runs/cc3m/pretrain/catlip-seed0 --to timm \\
        --out vit_b16.safetensors
    python -m catlip.weights show vit_base.pt

    What is read: the release's pre-training, classification, multi-label, DeepLabv3, Mask R-CNN and
    CLIP checkpoints of ViT B, L and H (torch.save or safetensors); the folder of a finished run,
    its weights.safetensors and its checkpoints/step-*.pt; and what this program wrote. Every weight
    is accounted for, or the file is refused.

    timm: the encoder and a linear classifier, for timm's VisionTransformer. An encoder that cuts
    the image into patches, such as vit_b16, is loaded by timm.create_model("vit_base_patch16_224",
    num_classes=...) without further arguments. No model of timm has the release's stem of three
    convolutions, and because of the GELU between them it cannot be merged into one convolution:
    timm's model then needs embed_layer=catlip.encoder.STEMS["conv"] and no_embed_class=True, and
    likewise for the hybrid stem. Dropped weights are printed with the reason, and all of them are
    listed in the file's metadata.

    huggingface: a folder with the same weights in model.safetensors, a config.json and a model card
    in README.md, with what records beside the run say of its training and its accuracies.
    timm.create_model("local-dir:FOLDER", pretrained=True) builds the model from it, and "hf-hub:"
    does once it is uploaded; other stems need embed_layer here too. The call is printed. Where the
    classes are nouns, pretrained_cfg["label_names"] has them, with definitions in
    "label_descriptions".
    """

    file: tyro.conf.Positional[Path]
    """The checkpoint, or the folder of a finished run."""
    to: Literal["timm", "huggingface"]
    """What to convert to."""
    out: Path
    """A .safetensors file, or a folder for `huggingface`."""
    vocabulary: Path | None = None
    """The vocabulary that names the classes for `huggingface`; by default the one that the record
    beside a run's folder names.
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
