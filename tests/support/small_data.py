"""Pictures that any features tell apart, vocabularies, and runs that were never trained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pictures import save
from PIL import Image

from baselines.methods import BASELINES
from baselines.openclip import text_tower
from catlip.captions import EDITION, LabelVersion
from catlip.categorical import Categorical
from catlip.encoder import build_encoder
from catlip.training.checkpoint import save_weights
from catlip.vocabulary import CountedCaptions, Counts, Synset, Vocabulary, vocabulary_identity
from catlip.words.wordnet import nouns

CLASSES = ("dog", "cat", "violin", "guitar", "boat", "car")
ENCODER: dict[str, Any] = {"encoder": "hybrid_mini", "resolution": 32}
ON_A_CPU: dict[str, Any] = {"num_workers": 0, "device": "cpu", "quiet": True}


def png(level: int, seed: int, size: tuple[int, int] = (40, 50)) -> bytes:
    """A picture of this grey level, with some noise."""
    noise = np.random.default_rng(seed).integers(-20, 21, size=(*size, 3))
    return save(Image.fromarray((level + noise).clip(0, 255).astype(np.uint8)), "PNG")


def write_folders(root: Path, names: tuple[str, ...], count: int = 4) -> str:
    """A folder per class, each of a grey level of its own; the spelling of that data set."""
    for split in ("train", "val"):
        for number, name in enumerate(names):
            folder = root / split / name
            folder.mkdir(parents=True)
            for seed in range(count):
                level = 255 * number // max(1, len(names) - 1)
                (folder / f"{seed}.png").write_bytes(png(level, seed + 100 * (split == "val")))
    return f"folder:{root}"


def write_noise(root: Path, count: int) -> str:
    """Noise in folders of four classes: what is right about it depends on everything."""
    for number in range(count):
        folder = root / ("train", "val")[number % 2] / f"{number // 2 % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(png(128, number))
    return f"folder:{root}"


def vocabulary_of(*names: str) -> Vocabulary:
    """A vocabulary of these synsets, the first the most frequent."""
    synsets = (Synset(nouns().find(name), name, 10**5 - n) for n, name in enumerate(names))
    return Vocabulary(
        "corenet", "3.0", None, CountedCaptions(None, ()), None, len(names), tuple(synsets)
    )


def counts_of(times: dict[int, int], captions: int = 100) -> Counts:
    """How often each synset was counted, by these labels of so many captions."""
    by_synset = np.zeros(len(nouns().offsets), dtype=np.int64)
    for synset, number in times.items():
        by_synset[np.searchsorted(nouns().offsets, synset)] = number
    labels = LabelVersion("paper", "3.0", "nltk", EDITION)
    return Counts(by_synset, labels, CountedCaptions(captions, ("0" * 16,), 4))


def write_run(
    root: Path,
    name: str = "run",
    synsets: tuple[str, ...] = tuple(f"{name}.n.01" for name in CLASSES),
    seed: int = 0,
) -> Path:
    """A run that was never trained, with its vocabulary and its record."""
    vocabulary = root / f"{name}-vocabulary.json"
    vocabulary_of(*synsets).save(vocabulary)
    torch.manual_seed(seed)
    objective = Categorical(build_encoder("hybrid_mini", 32), torch.full((len(synsets),), 0.1))
    config = ENCODER | {"method": "catlip", "seed": seed}
    config["vocabulary"] = vocabulary_identity(vocabulary)
    (root / name).mkdir()
    save_weights(root / name / "weights.safetensors", objective.state_dict(), config)
    record = {"kind": "pretrain", "metrics": {}, "config": {"vocabulary": str(vocabulary)}}
    (root / f"{name}.json").write_text(json.dumps(record))
    return root / name


def write_untrained(root: Path, method: str, context: int = 24) -> Path:
    """A run of a baseline that was never trained."""
    torch.manual_seed(0)
    encoder = build_encoder("hybrid_mini", 32)
    objective: Any = BASELINES[method].build(encoder, "hybrid_mini", base_rates=None)
    if context != 24:
        torch.manual_seed(0)
        text = replace(text_tower("hybrid_mini"), context=context)
        objective = BASELINES[method](build_encoder("hybrid_mini", 32), text)
    config = ENCODER | {"method": method, "seed": 0, "text_context": context}
    (root / method).mkdir()
    save_weights(root / method / "weights.safetensors", objective.state_dict(), config)
    (root / f"{method}.json").write_text('{"kind": "pretrain", "metrics": {}}')
    return root / method
