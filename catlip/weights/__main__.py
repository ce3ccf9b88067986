"""`python -m catlip.weights convert` and `python -m catlip.weights show`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from catlip.cli import InputError, Program, run
from catlip.program.ranges import Natural
from catlip.weights.checkpoint import Checkpoint, read_checkpoint
from catlip.weights.files import listed
from catlip.weights.run import weights_file
from catlip.weights.show import Show, show
from catlip.weights.targets import Converted, to_ours, to_released, to_timm
from catlip.weights.write import parameter_count, write_archive, write_folder, write_safetensors

Target = Literal["ours", "timm", "released", "huggingface"]
SUFFIXES: dict[Target, str] = {"ours": ".safetensors", "timm": ".safetensors", "released": ".pt"}
SHOWN = 6  # names of dropped weights on a line


@dataclass(frozen=True)
class Convert:
    """Convert weights exactly between the layouts of the release, of a run and of timm.

    python -m catlip.weights convert vit_base.pt --to timm --out vit_base.safetensors
    python -m catlip.weights convert vit_base.pt --to huggingface --out vit_base/
    python -m catlip.weights convert runs/cc3m/pretrain/catlip-seed0 --to timm \\
        --out vit_b16.safetensors
    python -m catlip.weights show vit_base.pt

    What is read: the release's pre-training, classification, multi-label, DeepLabv3, Mask R-CNN and
    CLIP checkpoints of ViT B, L and H (torch.save or safetensors, or its trainer's file, whose
    averaged weights are taken); the folder of a finished run, its weights.safetensors and its
    checkpoints/step-*.pt; and what this program wrote. Every weight is accounted for, or the file
    is refused.

    What each target holds:

    ours: everything. The encoder, the classifier and RangeAugment's ranges get the names of this
    project's objective; other weights, such as a segmentation head, keep their names. `--encoder
    FILE` of the benches reads it.

    timm: the encoder and a linear classifier, for timm's VisionTransformer. An encoder that cuts
    the image into patches, such as vit_b16, is loaded by timm.create_model("vit_base_patch16_224",
    num_classes=...) without further arguments. No model of timm has the release's stem of three
    convolutions, and because of the GELU between them it cannot be merged into one convolution:
    timm's model then needs embed_layer=catlip.encoder.STEMS["conv"] and no_embed_class=True, and
    likewise for the hybrid stem. timm resizes positions on their grid and the release along their
    row, so give --resolution for other sizes than 224 pixels. Dropped weights are printed with the
    reason, and all of them are listed in the file's metadata.

    huggingface: a folder with the weights of `timm` in model.safetensors, a config.json and a model
    card. timm.create_model("local-dir:FOLDER", pretrained=True) builds the model from it, and
    "hf-hub:" does once it is uploaded.

    released: the release's names, for encoders with its stem; the inverse of ours.
    """

    file: tyro.conf.Positional[Path]
    """The checkpoint, or the folder of a finished run."""
    to: Target
    """The layout to convert to."""
    out: Path
    """A .safetensors file, a .pt file for `released`, a folder for `huggingface`."""
    resolution: Natural = 0
    """Pixels of the images, for `timm` and `huggingface`, to which the release's positions are
    resized; 0 leaves the positions as they are.
    """


def main(config: Convert) -> None:
    """Read, convert and write; print what was dropped."""
    file = weights_file(config.file)
    _check(config, file)
    checkpoint = read_checkpoint(file)
    if config.to == "ours":
        converted = to_ours(checkpoint)
    elif config.to == "released":
        converted = to_released(checkpoint)
    else:
        converted = to_timm(checkpoint, config.resolution)
    _write(config, checkpoint, converted)
    print(
        f"{checkpoint.encoder_name}: {len(converted.tensors)} weights, "
        f"{parameter_count(converted.tensors):,} parameters"
    )
    for reason, names in converted.dropped.items():
        print(f"dropped {len(names)}, {reason}: {listed(names, SHOWN)}")
    print(f"wrote {config.out}")


def _check(config: Convert, file: Path) -> None:
    suffix = SUFFIXES.get(config.to)
    if suffix and config.out.suffix != suffix:
        raise InputError(f"--out {config.out} does not end in {suffix}, as --to {config.to} needs")
    if not suffix and config.out.is_file():
        raise InputError(f"--out {config.out} is a file; --to huggingface writes a folder")
    for written in (config.out, config.out / "model.safetensors"):
        if written.exists() and written.samefile(file):
            raise InputError(f"--out {config.out} is the input file; give another name")
    if config.resolution and config.to not in ("timm", "huggingface"):
        raise InputError(
            f"--resolution is for timm and huggingface; --to {config.to} keeps the positions as "
            "they are"
        )


def _write(config: Convert, checkpoint: Checkpoint, converted: Converted) -> None:
    if config.to == "released":
        write_archive(config.out, converted)
    elif config.to == "huggingface":
        resolution = converted.config["resolution"]
        resized = replace(checkpoint, resolution=resolution, config=converted.config)
        write_folder(config.out, resized, converted)
    else:
        write_safetensors(config.out, converted)


if __name__ == "__main__":
    subcommands: dict[str, Program] = {"convert": (Convert, main), "show": (Show, show)}
    run(Convert, main, subcommands=subcommands)
