"""The options of ./run_all.sh, and what can be known of them before the first step: whether the
data are there, and the methods and the encoder known.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from glob import glob
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from catlip.architectures import ENCODERS
from catlip.data import layout
from catlip.data.layout import TABLES, TAR, Layout, class_images, find_layout, has_tars, visible
from catlip.program.errors import InputError
from catlip.program.methods import baseline_names
from catlip.system.urls import is_remote
from pipeline.sources import PROBES, SHARDS, Source

STAGES = (
    *("setup", "data", "label", "tune", "pretrain"),
    *("transfer", "dense", "bench", "study", "report"),
)
SCALES = ("starter", "photos", "cc3m", "datacomp")
SMALL_SCALES = ("starter", "photos")  # of a small encoder, for a CPU or a GPU
# Seeds at a small scale: by default (so that all stages take a quarter of an hour), with --full,
# and with --study.
SEEDS, SEEDS_OF_FULL, SEEDS_OF_A_STUDY = 2, 3, 10
# A small CLIP is better with a bag of words as text tower than with the paper's transformer.
METHODS, METHODS_OF_THE_PAPER = ("catlip", "clip_bag", "clip"), ("catlip", "clip")
NO_PROBE = "none"
DRAWINGS = "starter:data/starter"
USER_DATA = ("shards", "probe", "coco", "ade20k")
DENSE_FILES = {
    "coco": ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
    "ade20k": ("images/training", "images/validation", "annotations/training"),
}

HELP = """\
./run_all.sh [options]     set up, fetch the data, label, train the methods, transfer,
                           time, write the page
./run_all.sh test          set up if needed, then run every check and test

  --scale SCALE    starter (default: real drawings with captions, a quarter of an hour on 2 cores);
                   photos (photographs with captions, of a hub or 5,000 to 500,000 of your
                   own, a small encoder; half an hour for 8,000 on 2 cores); cc3m
                   or datacomp (the paper's recipes; docs/cc3m.md: hours, and what to expect)
  --shards SHARDS  your image-caption shards, for example '/data/cc3m/{00000..00331}.tar', or
                   remote, as 's3://bucket/{00000..00331}.tar'; or a table of your images' files and
                   captions (.csv, .tsv, .parquet, .jsonl, COCO's .json), or a folder of images with
                   a .txt each, or of one of images for each class, which become shards in data/.
                   Beside train/ or train.csv, photos searches the captions of test/ or test.csv.
                   Without it, photos fetches 13,443 photographs of CC3M (1.1 GB; with a GPU
                   100,000, 9 GB), and cc3m all (269 GB, of which it keeps 70), into data/
  --words FILE     words of your own domain, lines as "tshirts,shirt" or, for no label, "color,"
  --image-column NAME, --text-column NAME
                   columns of that table, if they are not found by themselves
  --probe DATA     your labelled images, to transfer to: a folder with train/ and val/ or test/, of
                   a folder or tars each (see README), or imagenet:/data/imagenet, or remote, as
                   wds:hf://datasets/clip-benchmark/wds_vtab-caltech101. Without it, photos takes
                   that (Caltech-101, 0.63 GB), and other scales transfer nothing, as photos does
                   with --probe none. Give it again for a linear probe on other data too. photos
                   also probes the starter's drawings, and both small scales Debian's Fashion-MNIST
                   if it is installed
  --coco DIR       COCO-2017, for multi-label classification and detection
  --ade20k DIR     ADEChallengeData2016, for segmentation
  --epochs N       train for N epochs, in place of the recipe's length
  --threshold N    make those nouns classes that occur more often than N times, in place of the
                   scale's 16 (starter), 500 (cc3m, datacomp), or a number that fits the data
  --encoder NAME   train this encoder, in place of the recipe's: hybrid_small, vit_small16 ...
  --full           starter, photos: three seeds, with every encoder read out, not only the first of
                   each method, and a probe of a published encoder; photos: encoders fine-tuned
                   too; starter: labels and masks of generated scenes; takes an hour and a half more
  --tune           photos: give each method the best of 16 recipes on the probe's validation images,
                   for --epochs if given, before it is trained; two hours more for 8,000 on 2 cores
  --study          tune the methods alike, and train them at several lengths, on fractions of the
                   data, with several encoders, and by losses and words: many hours, less what
                   reports/records holds; it goes on where it stopped
  --methods A,B    what to pre-train and compare, for example catlip,clip_bag,siglip,superclass;
                   default catlip,clip,clip_bag: CLIP also with a bag of words as text tower,
                   with which small encoders are better; cc3m, datacomp: catlip,clip
  --seeds N        pre-training runs of each method (starter, photos: 2 by default, and 1 of CLIP's
                   transformer beside its bag of words, 3 with --full, 10 with --study; else 1); an
                   interval needs 6
  --device DEVICE  auto (default), cpu, cuda
  --out DIR        where runs go (default runs/)
  --only STAGE     only this stage: setup data label tune pretrain transfer dense bench study report
  --from STAGE     this stage and those after it
  --no-venv        use the active environment instead of .venv
  --dry-run        check all arguments and data, and print each command instead of running it
  --yes            fetch without asking; what is fetched, and its licences, is listed before, and
                   by --dry-run
  --quiet          no progress bars
  --help           this text

A step is skipped if its results exist, and its command, its code and the contents of its inputs
have not changed. An interrupted step goes on where it stopped. Nothing is deleted: the results of
an older step are moved to NAME.old-DATE. --device, --quiet, --no-venv, another --out and the
number of GPUs never cause a finished training to run again.

Examples:
  ./run_all.sh
  ./run_all.sh --full
  ./run_all.sh --methods catlip,clip_bag,siglip,superclass --seeds 6
  ./run_all.sh --scale photos
  ./run_all.sh --scale photos --shards '/data/mine/*.tar' --probe /data/pets --epochs 8
  ./run_all.sh --scale photos --shards /data/shop/products.csv --probe /data/pets --dry-run
  ./run_all.sh --scale photos --shards /data/shop/products.csv --probe /data/pets --tune --seeds 6
  ./run_all.sh --scale cc3m --probe imagenet:/data/imagenet
  ./run_all.sh --scale cc3m --shards '/data/cc3m/{00000..00331}.tar' --probe imagenet:/data/imagenet
"""


class Options(argparse.Namespace):
    """What to run, on what, and where the results go."""

    scale: str
    shards: str
    probes: list[str]  # as given
    probe: str  # the main task, on which everything is done; empty if nothing is transferred
    more_probes: list[str]  # for a linear probe of each encoder only
    coco: str
    ade20k: str
    full: bool
    study: bool
    tune: bool
    epochs: str | None
    threshold: str | None
    encoder: str
    methods: list[str]
    seeds: int
    device: str
    out: Path
    python: str
    stages: tuple[str, ...]
    dry_run: bool
    quiet: bool
    yes: bool
    sources: list[Source]  # what is fetched from a hub
    table: str  # or folder of the user's images, to be made into shards; empty if there is none
    image_column: str
    text_column: str
    words: str  # a file of words of the user's domain
    held_out: str  # captioned images that no training sees; empty if none are known
    understood: list[str]  # how the columns of tables and the folders are read

    @property
    def small(self) -> bool:
        return self.scale in SMALL_SCALES

    @property
    def runs(self) -> Path:
        return self.out / self.scale


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see ./run_all.sh --help")


def _text_like(pattern: str, example: str) -> Callable[[str], str]:
    """A type for argparse: text that matches a regular expression."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"'{text}' is not like {example}")
        return text

    return check


def read_options(arguments: Sequence[str]) -> Options:
    """Read and check the command line. Raises: InputError for what would else end a later step."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--scale", choices=SCALES)
    for name in ("shards", *DENSE_FILES, "encoder", "image-column", "text-column", "words"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--probe", action="append", default=[], dest="probes")
    for name in ("epochs", "threshold", "seeds"):
        parser.add_argument(f"--{name}", type=_text_like(r"[1-9]\d*", "1, 2, 3 ..."))
    for name in ("full", "study", "tune", "dry-run", "quiet", "yes"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--only", choices=STAGES)
    parser.add_argument("--from", choices=STAGES, default="setup", dest="first")
    device = _text_like(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda, cuda:0 ...")
    parser.add_argument("--device", default="auto", type=device)
    parser.add_argument("--methods", type=lambda text: text.split(","))
    parser.add_argument("--out", default="runs", type=Path)
    # The Python interpreter that runs the steps; run_all.sh passes it.
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args(arguments, namespace=Options())
    options.probe, *options.more_probes = options.probes or [""]

    user_data = [f"--{name}" for name in USER_DATA if getattr(options, name)]
    if user_data and options.scale in (None, "starter"):
        raise InputError(
            f"{user_data[0]} needs --scale photos (5,000 to 500,000 images, a small encoder), cc3m "
            "or datacomp (the paper's recipes); starter brings its own data"
        )
    options.scale = options.scale or "starter"
    options.study |= options.only == "study"
    options.tune |= options.only == "tune"
    options.stages = (options.only,) if options.only else STAGES[STAGES.index(options.first) :]
    if options.full and not options.small:
        raise InputError("--full is for --scale starter and photos; give --coco and --ade20k")
    if options.tune and options.scale != "photos":
        raise InputError("--tune is for --scale photos; the starter's recipes are tuned")
    small = SEEDS_OF_A_STUDY if options.study else SEEDS_OF_FULL if options.full else SEEDS
    options.seeds = int(options.seeds or (small if options.small else 1))
    methods = options.methods or (METHODS if options.small else METHODS_OF_THE_PAPER)
    options.methods = [*dict.fromkeys(methods)]
    for method in options.methods:
        _check_name("method", method, ["catlip", *baseline_names()])
    if options.encoder:
        _check_name("encoder", options.encoder, ENCODERS)
    options.sources, options.table, options.understood = [], "", []
    options.held_out = ""
    if options.scale == "starter":
        options.shards, options.probe = "data/starter/pretrain", DRAWINGS
        if options.full or options.only == "dense":
            options.coco, options.ade20k = "data/starter-scenes/coco", "data/starter-scenes/ade20k"
    else:
        _check_data(options)
    if not options.dry_run:
        try:
            options.runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to --out {options.out}: {error.strerror}") from None
    return options


def _check_name(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise InputError(f"no {what} is called '{name}'; choose from: {', '.join(known)}")


def _check_data(options: Options) -> None:
    """Check that the user's data are there; plan to fetch what the user does not give."""
    source = SHARDS.get((options.scale, count_gpus(options.device) > 0))
    if options.shards:
        if options.scale == "photos" and (held_out := _find_held_out(options.shards)):
            options.held_out = held_out
            options.understood += [f"{held_out}: held-out captions, for retrieval"]
        _check_shards(options)
    elif source:
        options.shards = f"{source.folder}/*.tar"
        options.sources += [source] if "data" in options.stages else []
    else:
        raise InputError(
            f"--scale {options.scale} needs your data: --shards 'DIR/{{000..331}}.tar'"
        )
    if options.probes and options.probes != [NO_PROBE]:
        _check_probes(options.probes, options.stages)
    elif not options.probe and (probe := PROBES.get(options.scale)):
        options.probe = probe.url
        needs = {"transfer", "study", *(["tune"] if options.tune else [])}
        options.sources += [probe] if needs & {*options.stages} else []
    elif options.study or options.tune:
        raise InputError("--study and --tune need --probe DATA, for example imagenet:DIR")
    else:
        options.probe = ""
    if options.words and not Path(options.words).is_file():
        raise InputError(f"--words: there is no file {options.words}")
    for name, parts in DENSE_FILES.items():
        folder = getattr(options, name)
        missing = [Path(folder, part) for part in parts if not Path(folder, part).exists()]
        if folder and missing:
            raise InputError(f"--{name}: there is no {missing[0]}")


def _check_shards(options: Options) -> None:
    """Check that the shards are there; a table or a folder of images becomes shards."""
    first = re.sub(r"\{([^{},.]*)[^{}]*\}", r"\1", options.shards)
    matches = [Path(first)] if "://" in first else [*map(Path, sorted(glob(first)))]
    if not matches:
        raise InputError(f"--shards: nothing matches {first}")
    path = matches[0]
    if has_tars(path) or (is_remote(path) and path.suffix not in TABLES):
        return
    if not path.is_dir() and path.suffix.lower() not in TABLES:
        kinds = ", ".join(TABLES)
        raise InputError(f"--shards {path} is neither a shard ({TAR}) nor a table ({kinds})")
    if len(matches) > 1:
        raise InputError(f"--shards {options.shards} are several tables; give one, or a folder")
    # Two folders may have the same name.
    place = sha256(str(path if is_remote(path) else path.resolve()).encode()).hexdigest()[:6]
    folder = Path(f"data/{path.stem}-{place}-shards")
    options.table, options.shards = options.shards, f"{folder}/*{TAR}"
    if "data" in options.stages and not is_remote(path):
        with suppress(ImportError):  # not set up yet; it is looked at again after that
            from catlip.data.fetch import Fetch, look

            columns = options.image_column or None, options.text_column or None
            _, lines = look(Fetch((options.table,), folder, 0, *columns))
            options.understood += lines


def _find_held_out(shards: str) -> str:
    """What is beside the shards, their folder or table, and has `test`, or `val`, in its name where
    they have `train`: shards, or images with captions; or the table itself, if a column tells which
    of its rows are held out. Empty if there is no such thing.
    """
    path = Path(shards) if Path(shards).exists() else Path(shards).parent
    with suppress(ImportError, InputError):
        from catlip.data.user_images import find_user_images, open_user_images

        if path.is_dir() and not has_tars(path):
            path = find_user_images(path)[0]
        if path.is_file() and open_user_images(path).held_cells:
            return str(path)
        if path.name in layout.HUGGING_FACE:
            path = path.parent
    split, rest = _split_and_rest(path)
    beside = {_split_and_rest(other): other for other in visible(path.parent)}
    names = (layout.TEST, layout.VAL) if split == layout.TRAIN else ()
    for other in filter(None, (beside.get((name, rest)) for name in names)):
        if has_tars(other):
            return str(other)
        with suppress(ImportError, InputError):  # a test split may have no captions
            from catlip.data.user_images import CLASS, find_user_images, open_user_images
            from catlip.program.broken import MAX_BROKEN

            tables = find_user_images(other) if other.is_dir() else [other]
            every = [open_user_images(table) for table in tables]
            for images in every:
                images.check(MAX_BROKEN)
            if not any(CLASS in images.captions.values() for images in every):
                return str(other)
    return ""


def _split_and_rest(path: Path) -> tuple[str, str]:
    """The split in the name of a file or folder, and the name without it and its numbers."""
    rest = re.sub(r"\d+", "", layout.SPLIT_WORD.sub("", path.name.lower()))
    return layout.split_of(path.name, is_part=True), rest


def _check_probes(probes: Sequence[str], stages: Sequence[str]) -> None:
    """Check that each is there and that names differ: the page takes equal names for one task."""
    if NO_PROBE in probes:
        raise InputError(f"--probe {NO_PROBE} transfers nothing: give no other --probe with it")
    checked: dict[str, Layout] = {}
    for probe in probes:
        layout = find_layout(probe)
        # The stage `data` makes the drawings.
        if not (probe == DRAWINGS or is_remote(layout.root) or layout.root.is_dir()):
            raise InputError(f"--probe {probe}: there is no folder {layout.root}")
        for other, before in checked.items():
            if before.root.resolve() == layout.root.resolve():
                raise InputError(f"--probe {probe}: the same data are given twice; leave one out")
            if before.name == layout.name:
                raise InputError(
                    f"--probe {other} and --probe {probe} would both be called '{layout.name}' on "
                    "the page: rename a folder, or probe one in a run of its own (another --out)"
                )
        checked[probe] = layout
        if {"transfer", "study", "tune"} & {*stages}:
            _open_probe(layout)


def _open_probe(probe: Layout) -> None:
    """Refuse now what would end the run after all trainings."""
    if not any(map(has_tars, probe.splits)):
        class_images(probe.root, probe.splits)
        return
    with suppress(ImportError):
        from catlip.data.shards import expand, open_shard

        for path in expand(map(str, probe.splits)):
            open_shard(path)


def announcement(options: Options) -> str:
    """How the user's data are read, and what will be fetched."""
    parts = [*options.understood]
    if options.sources:
        total = sum(source.gb for source in options.sources)
        parts.append(f"To be fetched, {total:g} GB, once, unless you give --shards and --probe:")
        parts += map(str, options.sources)
    return "\n".join(parts)


def announce(options: Options) -> None:
    """Print the announcement, and ask before anything is fetched; again only if it has changed.

    Raises: InputError if the user does not agree.
    """
    text = announcement(options)
    agreed = options.runs / ".steps/agreed"
    if not text or (agreed.is_file() and agreed.read_bytes() == text.encode()):
        return
    is_asked = options.sources and not options.yes
    if is_asked and not sys.stdin.isatty():
        raise InputError(
            f"this fetches {sum(source.gb for source in options.sources):g} GB: give --yes to "
            "agree; --dry-run lists what, from where, and its licences"
        )
    print(text, file=sys.stderr)
    if is_asked:
        print("Fetch? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise InputError("nothing was fetched")
    agreed.parent.mkdir(exist_ok=True)
    agreed.write_text(text)


def count_gpus(device: str) -> int:
    """The number of GPUs that the steps may use, without torch, which may not be installed yet."""
    if device == "cpu" or not shutil.which("nvidia-smi"):
        return 0
    if device.startswith("cuda:"):
        return 1
    listing = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return len(re.findall(r"^GPU ", listing.stdout, re.MULTILINE))
