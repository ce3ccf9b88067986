"""The options of ./run_all.sh, and what can be known of them before the first step: whether the
data are there and of the right kind, the methods and the encoder known, and the disk large enough.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from glob import glob, has_magic
from itertools import product
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NoReturn

from catlip.architectures import ENCODERS
from catlip.data.layout import find_layout
from catlip.program.errors import InputError
from catlip.system.urls import is_remote
from pipeline.inputs import baselines

STAGES = ("setup", "data", "label", "pretrain", "transfer", "dense", "bench", "study", "report")
SCALES = ("starter", "photos", "cc3m", "datacomp")
SMALL_SCALES = ("starter", "photos")  # of a small encoder, for a CPU or a GPU
# Seeds at a small scale: by default (all stages together are to take half an hour), with --full,
# and with --study.
SEEDS, SEEDS_OF_FULL, SEEDS_OF_A_STUDY = 2, 3, 10
OWN_DATA = ("shards", "probe", "coco", "ade20k")
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
CAPTIONS = (".txt", ".json")
BRACES = re.compile(r"\{(?P<first>[^{},.]*)(?:\.\.|,(?:[^{}]*,)?)(?P<last>[^{},.]*)\}")
MAX_LOOKED_AT = 20  # members of a tar, in which a sample must be complete
# Of a training: checkpoints, of which two are kept, snapshots, averaged weights and logs. A
# checkpoint of ViT-B/16 by CLIP is 2.4 GB.
SMALL_TRAINING_GB, TRAINING_GB = 0.2, 8.0
COCO_FILES = ("annotations/instances_train2017.json", "annotations/instances_val2017.json")
ADE20K_FOLDERS = ("images/training", "images/validation", "annotations/training")

HELP = """\
./run_all.sh [options]     set up, fetch the data, label, train the methods, transfer,
                           time, write the page
./run_all.sh test          set up if needed, then run every check and test

  --scale SCALE    starter (default: real drawings with captions, 2 CPU cores, under an
                   hour); photos (5,000 to 500,000 images of your own, a small encoder; half an
                   hour for 8,000 on 2 cores); cc3m or datacomp (the paper's recipes)
  --shards SHARDS  your image-caption shards, for example '/data/cc3m/{00000..00331}.tar', or
                   remote, as 's3://bucket/{00000..00331}.tar'
  --probe DATA     your labelled images, to transfer to: a folder with train/ and val/ or test/, of
                   a folder or tars each (see README), or imagenet:/data/imagenet, or remote, as
                   wds:hf://datasets/clip-benchmark/wds_vtab-caltech101; without it, nothing is
                   transferred
  --coco DIR       COCO-2017, for multi-label classification and detection
  --ade20k DIR     ADEChallengeData2016, for segmentation
  --epochs N       train for N epochs, in place of the recipe's length
  --threshold N    make those nouns classes that occur more often than N times, in place of the
                   scale's 16 (starter), 500 (cc3m, datacomp), or a number that fits the data
  --encoder NAME   train this encoder, in place of the recipe's: hybrid_small, vit_small16 ...
  --full           starter, photos: three seeds, with every encoder fine-tuned and read out, not
                   only the first of each method; a probe of Fashion-MNIST, if Debian's package of
                   it is or can be installed, and of a published encoder; starter: also the three
                   dense tasks, on generated scenes; takes an hour and a half more
  --study          tune the methods alike, and train them at several lengths, on fractions of the
                   data, with several encoders and with noise; at starter scale 4 hours in all, with
                   ten seeds
  --methods A,B    what to pre-train and compare (default catlip,clip); for example
                   catlip,clip,siglip,superclass
  --seeds N        pre-training runs of each method (starter, photos: 2 by default, 3 with --full,
                   10 with --study; else 1); an interval needs 6
  --device DEVICE  auto (default), cpu, cuda
  --out DIR        where runs go (default runs/)
  --only STAGE     only this stage: setup data label pretrain transfer dense bench study report
  --from STAGE     this stage and those after it
  --no-venv        use the active environment instead of .venv
  --dry-run        check all arguments and data, and print each command instead of running it
  --quiet          no progress bars
  --help           this text

A step is skipped if its results exist, and its command, its code and the contents of its inputs
have not changed. An interrupted step goes on where it stopped. Nothing is deleted: the results of
an older step are moved to NAME.old-DATE. --device, --quiet, --no-venv, another --out and the
number of GPUs never cause a finished training to run again.

Examples:
  ./run_all.sh
  ./run_all.sh --from transfer
  ./run_all.sh --full
  ./run_all.sh --study
  ./run_all.sh --methods catlip,clip,siglip,superclass --seeds 6
  ./run_all.sh --scale photos --shards '/data/mine/*.tar' --probe /data/pets --epochs 8
  ./run_all.sh --scale cc3m --shards '/data/cc3m/{00000..00331}.tar' --probe imagenet:/data/imagenet
  ./run_all.sh --scale cc3m --shards 'hf://datasets/pixparse/cc3m-wds/cc3m-train-{0000..0575}.tar'
"""


@dataclass(frozen=True)
class Options:
    """What to run, on what, and where the results go."""

    scale: str
    shards: str
    probe: str
    coco: str
    ade20k: str
    full: bool
    study: bool
    epochs: str | None
    threshold: str | None
    encoder: str
    methods: tuple[str, ...]
    seeds: int
    device: str
    out: Path
    stages: tuple[str, ...]
    python: str
    dry_run: bool
    quiet: bool

    @property
    def small(self) -> bool:
        """Whether the scale is one of a small encoder."""
        return self.scale in SMALL_SCALES

    @property
    def runs(self) -> Path:
        """The folder of everything that this scale makes."""
        return self.out / self.scale


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see ./run_all.sh --help")


def _like(pattern: str, example: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"'{text}' is not like {example}")
        return text

    return check


def read_options(arguments: Sequence[str]) -> Options:
    """Read and check the command line. Raises: InputError for what would else end a later step."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--scale", choices=SCALES)
    for name in (*OWN_DATA, "encoder"):
        parser.add_argument(f"--{name}", default="")
    for name in ("epochs", "threshold", "seeds"):
        parser.add_argument(f"--{name}", type=_like(r"[1-9]\d*", "1, 2, 3 ..."))
    for name in ("full", "study", "dry-run", "quiet"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--only", choices=STAGES)
    parser.add_argument("--from", choices=STAGES, default="setup", dest="first")
    device = _like(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda, cuda:0 ...")
    parser.add_argument("--device", default="auto", type=device)
    methods = _like(r"[a-z]\w*(,[a-z]\w*)*", "catlip,siglip")
    parser.add_argument("--methods", default="catlip,clip", type=methods)
    parser.add_argument("--out", default="runs")
    # The Python interpreter that runs the steps; run_all.sh passes it.
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args(arguments)
    given.study |= given.only == "study"
    user_data = [f"--{name}" for name in OWN_DATA if getattr(given, name)]
    if user_data and given.scale in (None, "starter"):
        starter = "--scale starter brings its own data; " if given.scale else ""
        raise InputError(
            f"{starter}{user_data[0]} needs --scale photos (5,000 to 500,000 images of your own, a "
            "small encoder), cc3m or datacomp (the paper's recipes)"
        )
    given.scale = given.scale or "starter"
    small = given.scale in SMALL_SCALES
    if given.full and not small:
        raise InputError("--full is for --scale starter and photos; give --coco and --ade20k")
    if not given.out or Path(given.out).resolve() == Path("/"):
        raise InputError(f"--out '{given.out}' cannot hold runs; give a folder: --out runs")
    few = SEEDS_OF_A_STUDY if given.study else SEEDS_OF_FULL if given.full else SEEDS
    given.seeds = int(given.seeds or (few if small else 1))
    given.out = Path(given.out)
    given.methods = tuple(dict.fromkeys(given.methods.split(",")))
    given.stages = (given.only,) if given.only else STAGES[STAGES.index(given.first) :]
    if given.scale == "starter":
        given.shards, given.probe = "data/starter/pretrain", "starter:data/starter"
        if given.full or given.only == "dense":
            given.coco, given.ade20k = "data/starter-scenes/coco", "data/starter-scenes/ade20k"
    elif not given.shards:
        raise InputError(
            f"--scale {given.scale} needs your data: --shards 'DIR/{{00000..00331}}.tar'"
        )
    elif given.study and not given.probe:
        raise InputError("a study needs --probe DATA, for example imagenet:DIR")
    options = Options(**{field.name: getattr(given, field.name) for field in fields(Options)})
    if not options.dry_run:
        _make_writable(options.out, options.runs)
    for method in options.methods:
        _check_name("method", method, ["catlip", *baselines()])
    if options.encoder:
        _check_name("encoder", options.encoder, ENCODERS)
    if options.scale != "starter":
        _check_data(options)
    if "pretrain" in options.stages:
        _check_disk(options)
    return options


def _make_writable(out: Path, runs: Path) -> None:
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=runs):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write to --out '{out}' ({error.strerror}); choose another folder"
        ) from None


def _check_name(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise InputError(f"no {what} is called '{name}'; choose from: {', '.join(known)}")


def _check_data(options: Options) -> None:
    if "://" not in options.shards:  # remote shards are looked at by the first step
        _check_shards(options.shards)
    if options.probe:
        try:
            layout = find_layout(options.probe)
        except InputError as error:
            raise InputError(f"--probe: {error}") from None
        if not (is_remote(layout.root) or layout.root.is_dir()):
            raise InputError(f"--probe {options.probe}: there is no folder {layout.root}")
    for name, folder, parts in (
        ("--coco", options.coco, COCO_FILES),
        ("--ade20k", options.ade20k, ADE20K_FOLDERS),
    ):
        missing = [Path(folder, part) for part in parts if not Path(folder, part).exists()]
        if folder and missing:
            raise InputError(f"{name}: there is no {missing[0]}")


def _check_shards(pattern: str) -> None:
    """Raises: InputError if no file matches, or the first is not a tar of images with captions.

    Of shards in braces, the first and the last are looked for; the first step expands the rest.
    """
    found = []
    for end in ("first", "last"):
        name = BRACES.sub(rf"\g<{end}>", pattern)
        path = os.path.join(name, "*.tar") if os.path.isdir(name) else name
        matches = sorted(glob(path)) if has_magic(path) else [path] * os.path.exists(path)
        if not matches:
            raise InputError(
                f"--shards: nothing matches {path}; give paths, globs or braces such as "
                "'cc3m/{00000..00331}.tar'"
            )
        found.append(matches[0])
    try:
        with tarfile.open(found[0]) as tar:
            names = [member.name for member, _ in zip(tar, range(MAX_LOOKED_AT), strict=False)]
    except (tarfile.TarError, OSError):
        raise InputError(f"--shards: {found[0]} is not a tar that can be read") from None
    suffixes = {Path(name).suffix.lower() for name in names}
    if not (suffixes.intersection(IMAGES) and suffixes.intersection(CAPTIONS)):
        raise InputError(
            f"--shards: {found[0]} holds {', '.join(names[:3]) or 'nothing'}: a sample is KEY.jpg "
            "with its caption in KEY.txt or KEY.json"
        )


def _check_disk(options: Options) -> None:
    """Raises: InputError if less is free than the trainings need that are not there."""
    trainings = product(options.methods, range(options.seeds))
    folders = [options.runs / f"pretrain/{method}-seed{seed}" for method, seed in trainings]
    missing = sum(not (folder / "weights.safetensors").exists() for folder in folders)
    needed_gb = missing * (SMALL_TRAINING_GB if options.small else TRAINING_GB)
    folder = next(path for path in (options.runs, *options.runs.parents) if path.exists())
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < needed_gb:
        raise InputError(
            f"--out: {free_gb:.1f} GB are free on the disk of {folder.resolve()}, and the "
            f"trainings need some {needed_gb:.1f}"
        )


def count_gpus(device: str) -> int:
    """The number of GPUs that the steps may use, without torch, which may not be installed yet."""
    if device == "cpu" or not shutil.which("nvidia-smi"):
        return 0
    if device.startswith("cuda:"):
        return 1
    listing = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return len(re.findall(r"^GPU ", listing.stdout, re.MULTILINE))
