"""A checkpoint by its parts, read from a file in any of the known layouts.

    read_checkpoint(Path("vit_base.pt")).build()  # the released encoder with its weights
    read_checkpoint(weights_file(Path("runs/cc3m/pretrain/catlip-seed0")))  # a run's average

ours        an objective's weights with the config that made them: `weights.safetensors` of a run,
            or a trainer's `step-*.pt`
released    the release's names (`catlip.weights.released`), as torch.save or safetensors
timm        timm's names, as `python -m catlip.weights convert` writes them, with the same config
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from catlip.cli import InputError
from catlip.encoder import ENCODERS, ImageEncoder, Pool, build_encoder
from catlip.records.record import from_plain, read_record
from catlip.system.files import sha256_of
from catlip.training.checkpoint import list_checkpoints
from catlip.vocabulary import Vocabulary, check_trained_on
from catlip.weights.files import differences, plain_tensors, read_config, read_file, shorten
from catlip.weights.released import RESOLUTION, Layout, detect_layout, split_parts

ENCODER = "image_encoder."
CLASSIFIER = {("classifier", name) for name in ("weight", "bias", "proj")}
# Pixels of the shorter side before the release's central crop of 224; at other resolutions the
# release resizes to the size of the crop.
RESIZE = 232
RELEASED_CLASSES = 24_320  # of the release's vocabulary
AVERAGED, RAW = "average", "objective"  # a trainer's two sets of weights


@dataclass(frozen=True)
class Checkpoint:
    """Weights by the part that they belong to, under this project's names.

    Attributes:
        encoder_name: of catlip.encoder.ENCODERS.
        resolution: pixels of the images that its positions are for.
        pool: "avg" for an encoder without a class token.
        encoder: the state dict of `build_encoder(encoder_name, resolution, pool=pool)`.
        classifier: "weight" [V, D] and "bias" [V]; for CLIP "proj" [D, joint width]; empty without
            a classifier.
        range_augment: the state dict of `catlip.range_augment.RangeAugment`, or empty.
        rest: everything else, under the names of the file.
        config: how the weights were made: encoder, resolution, method, seed, ...
    """

    encoder_name: str
    resolution: int
    pool: Pool
    encoder: Mapping[str, Tensor]
    classifier: Mapping[str, Tensor] = field(default_factory=dict)
    range_augment: Mapping[str, Tensor] = field(default_factory=dict)
    rest: Mapping[str, Tensor] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def layout(self) -> Layout | None:
        """The layout of the released checkpoint that this is, or was converted from; else None."""
        return Layout(**self.config["released"]) if "released" in self.config else None

    @property
    def resize(self) -> int | None:
        """Pixels of the shorter side before the central crop; None where there is no such step."""
        return self.config.get("resize")

    @property
    def has_nouns(self) -> bool:
        """Whether it has a classifier over a vocabulary of nouns; SuperClass's is over subwords."""
        if {*self.classifier} != {"weight", "bias"}:
            return False
        if self.config.get("method") != "catlip" and "vocabulary" not in self.config:
            return False
        # Released checkpoints with other numbers of classes are fine-tuned.
        return self.layout is None or self.layout.num_classes == RELEASED_CLASSES

    def build(self) -> ImageEncoder:
        """The image encoder with exactly these weights, in evaluation mode."""
        with torch.device("meta"):  # no time spent on an initialisation that is overwritten
            encoder = build_encoder(self.encoder_name, self.resolution, pool=self.pool)
        encoder.to_empty(device="cpu").load_state_dict(self.encoder)
        return encoder.eval()


def read_checkpoint(path: Path, raw: bool = False) -> Checkpoint:
    """The checkpoint in a file; of a trainer's file the averaged weights, or the raw ones."""
    tensors, config = open_weights(path, raw)
    try:
        if config:
            return _read_ours(tensors, config)
        if layout := detect_layout(tensors):
            return _read_released(tensors, layout, path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if "blocks.0.attn.qkv.weight" in tensors:
        raise InputError(
            f"{path} has timm's names and does not say how images are normalised; open it as "
            f"timm:NAME:{path}"
        )
    raise InputError(
        f"{path} is not a checkpoint of this project or of the release: it holds "
        f"{shorten(list(tensors))}; `python -m catlip.weights --help` lists what can be read"
    )


def identity_in(folder: Path) -> dict[str, Any] | None:
    """The config in the newest file of a run's folder that can be read; None if there is none."""
    weights = folder / "weights.safetensors"
    checkpoints = list_checkpoints(folder / "checkpoints")[::-1]
    for path in [*[weights] * weights.is_file(), *checkpoints]:
        with suppress(InputError):
            return open_weights(path)[1]
    return None


def vocabulary_of(checkpoint: Checkpoint | None, spelling: str, path: Path | None) -> Vocabulary:
    """The given vocabulary, or the one that the record beside the run's folder names."""
    if checkpoint is None or not checkpoint.has_nouns:
        raise InputError(f"{spelling} has no classifier over a vocabulary, as catlip trains one")
    if path is None:
        folder = Path(spelling.removesuffix(":raw").removesuffix("/weights.safetensors"))
        record = folder.with_name(f"{folder.name}.json")
        if record.is_file():
            path = Path(str(read_record(record).get("config", {}).get("vocabulary", "")))
        if path is None or not path.is_file():
            raise InputError(f"the vocabulary of {spelling} is not known; give it by --vocabulary")
    if path.suffix == ".pkl":
        return Vocabulary.from_release(path, len(checkpoint.classifier["bias"]))
    check_trained_on(path, checkpoint.config.get("vocabulary"), f"{spelling} was")
    return Vocabulary.load(path)


def weights_file(path: Path, raw: bool = False) -> Path:
    """The file of weights in a folder of a run or of `catlip.weights`, or the newest checkpoint of
    a run, where its raw weights are; a file itself. Raises: InputError if there is none.
    """
    names = [path / name for name in ("weights.safetensors", "model.safetensors")]
    for file in (path, *list_checkpoints(path / "checkpoints")[::-1]) if raw else (path, *names):
        if file.is_file():
            return file
    place = path / "checkpoints" if raw and path.is_dir() else path
    raise InputError(
        f"no weights at {place}; give the folder of a finished run, a file of weights, or another "
        "encoder"
    )


def open_weights(path: Path, raw: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights in a file by name, of any model, and this project's config or {}."""
    contents: Any
    contents, config = read_file(path)
    if not config and isinstance(state := contents.get("state"), dict):
        config = read_config(contents.get("config"), path)
        # A run without averaging has the raw weights only.
        contents = state.get(RAW) if raw or not state.get(AVERAGED) else state[AVERAGED]
    return plain_tensors(contents, path), config


def _read_released(tensors: Mapping[str, Tensor], layout: Layout, path: Path) -> Checkpoint:
    parts = split_parts(tensors, layout)
    config = {
        "encoder": layout.encoder,
        "resolution": RESOLUTION,
        "resize": RESIZE,
        "method": "clip" if layout.task == "clip" else "catlip",
        "seed": 0,  # every configuration of the release has it
        "pool": layout.pool,
        "released": asdict(layout),
        "source": {"file": path.name, "sha256": sha256_of(path)},
    }
    return Checkpoint(layout.encoder, RESOLUTION, pool=layout.pool, config=config, **parts)


def _read_ours(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint of weights whose names are an objective's, or timm's."""
    is_timm = config.get("layout") == "timm"
    names = ("encoder", "classifier", "range_augment", "rest")
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in names}
    for weight, tensor in tensors.items():
        # A wrapper of the objective, such as RangeAugment, adds a prefix.
        part, _, end = weight.removeprefix("objective.").partition(".")
        if is_timm:
            part, end = ("classifier", end) if part == "head" else ("encoder", weight)
        elif ENCODER in weight:
            part, end = "encoder", weight.split(ENCODER, 1)[1]
        elif part != "range_augment" and (part, end) not in CLASSIFIER:
            part, end = "rest", weight
        parts[part][end] = tensor
    name, resolution = config.get("encoder"), config.get("resolution")
    if not isinstance(name, str) or name not in ENCODERS or type(resolution) is not int:
        raise InputError(
            f"its config says encoder {name!r} at {resolution!r} pixels; this version has "
            f"{', '.join(ENCODERS)}"
        )
    pool: Pool = config.get("pool") or ENCODERS[name].pool
    if pool not in get_args(Pool):
        raise InputError(f"its config says pool {pool!r}; known: {' and '.join(get_args(Pool))}")
    with torch.device("meta"):
        expected = build_encoder(name, resolution, pool=pool).state_dict()
    shapes = {weight: tuple(tensor.shape) for weight, tensor in expected.items()}
    if problems := differences(parts["encoder"], shapes):
        raise InputError(
            f"it does not hold the encoder {name} at {resolution} pixels: {'; '.join(problems)}"
        )
    if "released" in config:
        from_plain(config["released"], Layout)  # refuse a damaged one now
    return Checkpoint(name, resolution, pool=pool, config=config, **parts)
