"""The options of ./run_all.sh."""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import NoReturn

from catlip.program.errors import InputError
from pipeline import checks

STAGES = ("setup", "data", "label", "pretrain", "transfer", "dense", "bench", "study", "report")
SCALES = ("starter", "photos", "cc3m", "datacomp")
SMALL_SCALES = ("starter", "photos")  # of a small encoder, for a CPU or a GPU
METHODS = ("catlip", "clip")
# Seeds at a small scale: by default (all stages together are to take half an hour), with --full,
# and with --study.
SEEDS, SEEDS_OF_FULL, SEEDS_OF_A_STUDY = 2, 3, 10
OWN_DATA = ("shards", "probe", "coco", "ade20k")

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
                   a folder or tars each (see README), or imagenet:/data/imagenet; without it,
                   nothing is transferred
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


def _number(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"give a number from 1, not '{text}'")
    return text


def _methods(text: str) -> tuple[str, ...]:
    methods = tuple(dict.fromkeys(text.split(",")))
    if not all(re.fullmatch(r"[a-z]\w*", method) for method in methods):
        raise argparse.ArgumentTypeError(f"'{text}' is no list of names such as catlip,siglip")
    return methods


def read_options(arguments: Sequence[str]) -> Options:
    """Read and check the command line. Raises: InputError."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--scale", choices=SCALES)
    for name in (*OWN_DATA, "encoder"):
        parser.add_argument(f"--{name}", default="")
    for name in ("epochs", "threshold", "seeds"):
        parser.add_argument(f"--{name}", type=_number)
    for name in ("full", "study", "dry-run", "quiet"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--only", choices=STAGES)
    parser.add_argument("--from", choices=STAGES, default="setup", dest="first")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--methods", default=METHODS, type=_methods)
    parser.add_argument("--out", default="runs")
    # The Python interpreter that runs the steps; run_all.sh passes it.
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args(arguments)
    given.study |= given.only == "study"
    given.own = [f"--{name}" for name in OWN_DATA if getattr(given, name)]
    if given.own and given.scale in (None, "starter"):
        starter = "--scale starter brings its own data; " if given.scale else ""
        raise InputError(
            f"{starter}{given.own[0]} needs --scale photos (5,000 to 500,000 images of your own, a "
            "small encoder), cc3m or datacomp (the paper's recipes)"
        )
    given.scale = given.scale or "starter"
    if given.full and given.scale not in SMALL_SCALES:
        raise InputError("--full is for --scale starter and photos; give --coco and --ade20k")
    if not given.out or Path(given.out).resolve() == Path("/"):
        raise InputError(f"--out '{given.out}' cannot hold runs; give a folder: --out runs")
    given.seeds = int(given.seeds or _default_seeds(given))
    given.out = Path(given.out)
    given.stages = (given.only,) if given.only else STAGES[STAGES.index(given.first) :]
    vars(given).update(_data(given))
    options = Options(**{field.name: getattr(given, field.name) for field in fields(Options)})
    if not options.dry_run:
        checks.make_writable(options.out, options.runs)
    _check(options)
    return options


def _default_seeds(given: argparse.Namespace) -> int:
    if given.scale not in SMALL_SCALES:
        return 1
    if given.study:
        return SEEDS_OF_A_STUDY
    return SEEDS_OF_FULL if given.full else SEEDS


def _data(given: argparse.Namespace) -> dict[str, str]:
    """Where the data is: the starter's folders, or the user's arguments."""
    if given.scale == "starter":
        scenes = "data/starter-scenes" if given.full or given.only == "dense" else ""
        return {
            "shards": "data/starter/pretrain",
            "probe": "starter:data/starter",
            "coco": scenes and f"{scenes}/coco",
            "ade20k": scenes and f"{scenes}/ade20k",
        }
    if not given.shards:
        raise InputError(
            f"--scale {given.scale} needs your data: --shards 'DIR/{{00000..00331}}.tar'"
        )
    if given.study and not given.probe:
        raise InputError("a study needs --probe DATA, for example imagenet:DIR")
    return {name: getattr(given, name) for name in OWN_DATA}


def _check(options: Options) -> None:
    """Raises: InputError for what would else end a later step."""
    for method in options.methods:
        checks.check_method(method)
    checks.check_device(options.device)
    if options.encoder:
        checks.check_encoder(options.encoder)
    if options.scale != "starter":
        checks.check_shards(options.shards)
        if options.probe:
            checks.check_probe(options.probe)
        if options.coco:
            checks.check_folder("--coco", options.coco, checks.COCO_FILES)
        if options.ade20k:
            checks.check_folder("--ade20k", options.ade20k, checks.ADE20K_FOLDERS)
    if "pretrain" in options.stages:
        trainings = product(options.methods, range(options.seeds))
        folders = [options.runs / f"pretrain/{method}-seed{seed}" for method, seed in trainings]
        missing = sum(not (folder / "weights.safetensors").exists() for folder in folders)
        each = checks.SMALL_TRAINING_GB if options.small else checks.TRAINING_GB
        checks.check_disk(options.runs, each * missing)


def count_gpus(device: str) -> int:
    """The number of GPUs that the steps may use, without torch, which may not be installed yet."""
    if device == "cpu" or not shutil.which("nvidia-smi"):
        return 0
    if device.startswith("cuda:"):
        return 1
    listing = subprocess.run(
        ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False
    )
    return len(re.findall(r"^GPU ", listing.stdout, re.MULTILINE))
