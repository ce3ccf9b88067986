"""The labels of the data sets that CatLIP is transferred to, as WordNet synsets (Sections 3.1 and
4.2).

ImageNet's classes are synsets. For the names of COCO, ADE20k and Fashion-MNIST the sense was chosen
by hand (`label_names/*.csv`): COCO's mouse is a computer mouse. Places365's names are read from the
user's copy and become synsets by a rule, `synsets_of`, which finds two in "restaurant_kitchen" and
none in "archaeological_excavation", the paper's examples. So do those of a text file of one's own,
unless a line is a synset.
"""

import csv
import importlib.util
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from catlip.cli import InputError
from catlip.system.foreign import printable, read_regular
from catlip.vocabulary.result import LABEL_SETS
from catlip.words.wordnet import nouns

NAMES_DIR = Path(__file__).parent / "label_names"
PLACES_FILE = "categories_places365.txt"
PLACES_LINE = re.compile(r"/\w/(\S+) \d+")  # "/a/apartment_building/outdoor 8"
# The end of a name that only says which variety is meant: "church/outdoor", "crane (bird)"
VARIETY = re.compile(r"[\s_]*[/(].*")


@dataclass(frozen=True)
class LabelSet:
    """The labels of a data set; for each name its synsets, which may be none."""

    name: str
    names: tuple[str, ...]
    synsets: tuple[tuple[int, ...], ...]


def label_set(spec: str) -> LabelSet:
    """The labels of "imagenet", "coco", "ade20k", "fashion_mnist" or "places365:DIR", where DIR is
    the data set's folder with `train/` or `categories_places365.txt`, or that file; or of a text
    file with a class name a line.
    """
    name, _, folder = spec.partition(":")
    if name not in LABEL_SETS:
        return class_list(Path(spec))
    if bool(folder) != (name == "places365"):
        raise InputError(
            f"{spec!r} is not a label set; write one of: {', '.join(LABEL_SETS)}, with "
            "places365:DIR for your copy"
        )
    if name == "places365":
        names = places_names(Path(folder))
        synsets = [synsets_of(each) for each in names]
    elif name == "imagenet":
        synsets = [(synset,) for synset in imagenet_synsets()]
        names = [nouns().name(synset) for (synset,) in synsets]
    else:  # chosen by hand
        with open(NAMES_DIR / f"{name}.csv", newline="", encoding="ascii") as file:
            rows = list(csv.DictReader(file))
        names = [row["name"] for row in rows]
        synsets = [synsets_of(row["synset"]) for row in rows]
    return LabelSet(name, tuple(names), tuple(synsets))


def class_list(path: Path) -> LabelSet:
    """The class names in a text file, one a line and each once, in its order; a line such as
    `crane.n.04` is that synset. Raises: InputError.
    """
    try:
        content = read_regular(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"no label set is called {str(path)!r}, nor a file; choose one of: "
            f"{', '.join(LABEL_SETS)}, or a text file with a class name a line"
        ) from None
    except ValueError as error:  # also of what is no UTF-8
        raise InputError(f"{path} is not a text file of class names: {error}") from None
    names = [*filter(None, map(str.strip, printable(content).split("\n")))]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"{path} names {twice[0]!r} twice; a class has one line")
    if not names:
        raise InputError(f"{path} names no class")
    return LabelSet(path.name, tuple(names), tuple(map(synsets_of, names)))


def synsets_of(name: str) -> tuple[int, ...]:
    """The synsets that a label's name consists of, by their first senses: the synset of the whole
    name if that is a noun ("swimming_pool"), else the synset of its longest part that is a noun,
    and likewise for the words on both sides ("restaurant_kitchen"). If a word belongs to no noun,
    there are none ("archaeological_excavation"). Varieties ("church/outdoor", "crane (bird)") are
    left out.
    """
    whole = "_".join(re.split(r"[\s_]+", VARIETY.sub("", name.strip().lower())))
    if (synset := nouns().find(whole)) is not None:
        return (synset,)
    parts = _parts(whole.replace("-", "_").split("_"))
    if None in parts:
        return ()
    return tuple(dict.fromkeys(synset for synset in parts if synset is not None))


def imagenet_synsets() -> list[int]:
    """ImageNet-1k's synsets by class id, from timm's list (which does not load torch)."""
    package = importlib.util.find_spec("timm")
    assert package is not None, "timm is a dependency"
    listing = Path(str(package.origin)).parent / "data/_info/imagenet_synsets.txt"
    return [int(wnid.removeprefix("n")) for wnid in listing.read_text().split()]


def _parts(words: Sequence[str]) -> list[int | None]:
    """The synsets of the parts of a name, the longest of them chosen first, of equally long ones
    the leftmost; None for a word that is in no part.
    """
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length + 1):
            end = start + length
            if (synset := nouns().first_sense("_".join(words[start:end]))) is not None:
                return [*_parts(words[:start]), synset, *_parts(words[end:])]
    return [None] * len(words)


def places_names(folder: Path) -> list[str]:
    """The names of Places365's categories, in which a variety follows a slash: from their list, or
    from the folders in train/, whose names have a hyphen there.
    """
    listing = folder / PLACES_FILE if folder.is_dir() else folder
    if listing.is_file():
        lines = listing.read_text(encoding="utf-8", errors="replace").split("\n")
        matches = [PLACES_LINE.fullmatch(line.strip()) for line in lines if line.strip()]
        names = [match[1] for match in matches if match]
        if len(names) != len(matches):
            raise InputError(
                f"{listing} is not a list of categories, with lines such as /a/airfield 0"
            )
    elif (folder / "train").is_dir():
        names = sorted(
            path.name.replace("-", "/") for path in (folder / "train").iterdir() if path.is_dir()
        )
    else:
        raise InputError(f"{folder} holds neither {PLACES_FILE} nor train/ with category folders")
    if not names:
        raise InputError(f"{folder} names no category")
    return names
