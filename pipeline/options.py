"""The options of ./run_all.sh."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

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
    epochs: str
    threshold: str
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


def read_options(arguments: Sequence[str]) -> Options:
    """Read and check the command line. Raises: InputError."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    for name in ("scale", *OWN_DATA, "only", "from", "epochs", "threshold", "encoder", "seeds"):
        parser.add_argument(f"--{name}", default="")
    for name in ("--full", "--study", "--dry-run", "--quiet"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--out", default="runs")
    # The Python interpreter that runs the steps; run_all.sh passes it.
    parser.add_argument("--python", default=sys.executable)
    given = vars(parser.parse_args(arguments))
    given["study"] |= given["only"] == "study"

    _choose_scale(given)
    if not given["out"] or Path(given["out"]).resolve() == Path("/"):
        raise InputError(f"--out '{given['out']}' cannot hold runs; give a folder: --out runs")
    options = Options(
        scale=given["scale"],
        full=given["full"],
        study=given["study"],
        epochs=_number(given, "epochs"),
        threshold=_number(given, "threshold"),
        encoder=given["encoder"],
        methods=_methods(given["methods"]),
        seeds=_number_of_seeds(given),
        device=given["device"],
        out=Path(given["out"]),
        stages=_stages(given["only"], given["from"]),
        python=given["python"],
        dry_run=given["dry_run"],
        quiet=given["quiet"],
        **_data(given),
    )
    if not options.dry_run:
        _make_writable(options)
    _check(options)
    return options


def count_gpus(device: str) -> int:
    """The number of GPUs, without torch, which may not be installed yet."""
    if device == "cpu" or not shutil.which("nvidia-smi"):
        return 0
    listing = subprocess.run(
        ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False
    )
    return len(re.findall(r"^GPU ", listing.stdout, re.MULTILINE))


def _methods(given: str) -> tuple[str, ...]:
    methods = tuple(dict.fromkeys(given.split(",")))
    if not all(re.fullmatch(r"[a-z]\w*", method) for method in methods):
        raise InputError(f"--methods '{given}' is not a list of names such as catlip,siglip")
    return methods


def _number_of_seeds(given: dict[str, Any]) -> int:
    if number := _number(given, "seeds"):
        return int(number)
    if given["scale"] not in SMALL_SCALES:
        return 1
    if given["study"]:
        return SEEDS_OF_A_STUDY
    return SEEDS_OF_FULL if given["full"] else SEEDS


def _number(given: dict[str, Any], name: str) -> str:
    number = str(given[name])
    if number and not re.fullmatch(r"[1-9]\d*", number):
        raise InputError(f"--{name} must be a number from 1, not '{number}'")
    return number


def _stages(only: str, first: str) -> tuple[str, ...]:
    for stage in (only, first):
        if stage and stage not in STAGES:
            raise InputError(f"no stage is called '{stage}'; choose one of: {' '.join(STAGES)}")
    if only:
        return (only,)
    return STAGES[STAGES.index(first or "setup") :]


def _choose_scale(given: dict[str, Any]) -> None:
    """Check the scale, and that the data and options that are given are used at it."""
    scale, own = given["scale"], [f"--{name}" for name in OWN_DATA if given[name]]
    if own and scale in ("", "starter"):
        starter = "--scale starter brings its own data; " if scale else ""
        raise InputError(
            f"{starter}{own[0]} needs --scale photos (5,000 to 500,000 images of your own, a small "
            "encoder), cc3m or datacomp (the paper's recipes)"
        )
    given["scale"] = scale or "starter"
    if given["scale"] not in SCALES:
        raise InputError(f"no scale is called '{scale}'; choose one of: {', '.join(SCALES)}")
    if given["full"] and given["scale"] not in SMALL_SCALES:
        raise InputError("--full is for --scale starter and photos; give --coco and --ade20k")


def _data(given: dict[str, Any]) -> dict[str, str]:
    """Where the data is: the starter's folders, or the user's arguments."""
    if given["scale"] == "starter":
        scenes = "data/starter-scenes" if given["full"] or given["only"] == "dense" else ""
        return {
            "shards": "data/starter/pretrain",
            "probe": "starter:data/starter",
            "coco": scenes and f"{scenes}/coco",
            "ade20k": scenes and f"{scenes}/ade20k",
        }
    if not given["shards"]:
        raise InputError(
            f"--scale {given['scale']} needs your data: --shards 'DIR/{{00000..00331}}.tar'"
        )
    if given["study"] and not given["probe"]:
        raise InputError("a study needs --probe DATA, for example imagenet:DIR")
    return {name: given[name] for name in OWN_DATA}


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


def _make_writable(options: Options) -> None:
    try:
        options.runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write to --out '{options.out}' ({error.strerror}); choose another folder"
        ) from None
    if not os.access(options.runs, os.W_OK):
        raise InputError(f"cannot write to --out '{options.out}'; choose another folder")
