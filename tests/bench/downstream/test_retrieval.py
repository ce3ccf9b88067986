"""Images and captions find each other as CLIP_benchmark counts it, and no tie is a hit."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from scipy.stats import hypergeom
from small_data import ON_A_CPU, png
from torch import Tensor

from baselines.openclip import CaptionTokenizer
from bench.downstream.probe.features import extract
from bench.downstream.probe.readouts import towers_of
from bench.downstream.retrieval import result
from bench.downstream.retrieval.config import Retrieval
from bench.downstream.retrieval.measure import chance, draw_images, main, ranks, recall, scorer_of
from bench.downstream.retrieval.result import CUTS, RETRIEVAL
from catlip.data.shards import write_shard
from catlip.encoders.load import load_encoder
from catlip.records.table import NOTE
from catlip.training.checkpoint import save_weights
from catlip.vocabulary import Vocabulary
from reports.pairs import Comparisons
from reports.reading import read_records

CPU = torch.device("cpu")
NAMES = ("dog", "cat", "violin", "guitar", "boat", "car", "a dog and a cat", "qwertz")
WAYS = ("image_to_text", "text_to_image")


def clip_benchmark(images: Tensor, texts: Tensor, owners: list[int]) -> list[list[float]]:
    """R@1, R@5 and R@10 of image to text and of text to image, computed as clip_benchmark 1.6.2
    does in metrics/zeroshot_retrieval.py: recall above zero among the k highest.
    """
    scores = F.normalize(texts, dim=-1) @ F.normalize(images, dim=-1).t()
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(scores)), owners] = True
    found = []
    for rows, pairs in ((scores.T, positive.T), (scores, positive)):
        found.append([])
        for k in CUTS:
            chosen = F.one_hot(torch.topk(rows, k, dim=1)[1], num_classes=rows.shape[1])
            right = (chosen * pairs.reshape(len(rows), 1, -1)).sum(dim=(1, 2))
            found[-1].append(((right / pairs.sum(dim=1)) > 0).float().mean().item())
    return found


def captioned(folder: Path, count: int = 24) -> Path:
    """A shard of pictures with one to three captions each."""
    samples = []
    for number in range(count):
        lines = [f"{NAMES[(number + i) % 8]} number {number}" for i in range(1 + number % 3)]
        members = {"png": png(10 * number, number), "txt": "\n".join(lines).encode()}
        samples.append((f"{number:03d}", members))
    write_shard(folder / "00000.tar", samples)
    return folder


def retrieve(out: Path, encoder: object, data: Path, **options: Any) -> dict[str, Any]:
    main(Retrieval(str(encoder), str(data), out, **ON_A_CPU | options))
    return json.loads(out.read_text())


def test_a_run_of_clip_has_the_numbers_of_clip_benchmark(untrained, tmp_path) -> None:
    spelling, data = str(untrained("clip")), captioned(tmp_path / "data")
    metrics = retrieve(tmp_path / "out.json", spelling, data)["metrics"]
    assert (metrics["num_images"], metrics["num_captions"]) == (24, 48)
    for way, chosen, answers in zip(WAYS, ((1, 2, 3), (1,)), (48, 24), strict=True):
        by_cut = [np.mean(1 - hypergeom.pmf(0, answers, chosen, cut)) for cut in CUTS]
        assert [*metrics[f"{way}_chance"].values()] == pytest.approx(by_cut)
    assert metrics["compared_by"] == "embeddings"
    config = Retrieval(spelling, str(data), **ON_A_CPU)
    encoder, (split, captions_of) = load_encoder(spelling, 0, CPU), draw_images(config)
    towers = towers_of(encoder, spelling)
    with torch.inference_mode():
        features = extract(encoder, split, config).values
        texts = towers.embed(towers.tokenize([c for captions in captions_of for c in captions]))
        owners = [i for i, captions in enumerate(captions_of) for _ in captions]
        expected = clip_benchmark(towers.project(features), texts, owners)
    for way, recalls in zip(WAYS, expected, strict=True):
        assert [*metrics[way].values()] == pytest.approx(recalls)


@pytest.mark.parametrize("right", [0, 7, 19])
def test_equal_scores_are_no_hits_but_chance(right: int) -> None:
    """Wherever the right answer lies among 20 of the same score."""
    scores, answers = torch.zeros(4000, 20), torch.arange(20)
    images = torch.full((4000,), right)
    drawn = [*vars(recall(ranks(scores, images, answers, seed=1))).values()]
    assert drawn == pytest.approx([*vars(chance([1], 20)).values()], abs=0.03)
    scores[:, right] = -1
    assert recall(ranks(scores, images, answers, seed=1)).r10 == 0


def test_catlip_scores_a_caption_by_how_likely_its_nouns_are(make_run, tmp_path) -> None:
    run, captions = make_run(), ["a dog and a cat", "qwertz", "the car", "cat, dog"]
    encoder = load_encoder(str(run), 0, CPU)
    compared_by, scorer = scorer_of(encoder, Retrieval(str(run), str(tmp_path), **ON_A_CPU))
    features = torch.randn(5, encoder.num_features, generator=torch.Generator().manual_seed(0))
    scores, without = scorer(features, captions)
    assert (compared_by, without) == ("nouns", 1)
    weights = load_file(run / "weights.safetensors")
    logits = (features @ weights["classifier.weight"].T + weights["classifier.bias"]).tolist()
    vocabulary = Vocabulary.load(tmp_path / "run-vocabulary.json")
    counts = [synset.count for synset in vocabulary.synsets]
    classes = [synset.name.partition(".")[0] for synset in vocabulary.synsets]
    for caption, of_caption in zip((("dog", "cat"), (), ("car",)), scores.tolist(), strict=False):
        for logit, score in zip(logits, of_caption, strict=True):
            told = [
                -math.log1p(math.exp(-logit[i])) - math.log(counts[i] / (sum(counts) / 3))
                for i in map(classes.index, caption)
            ]
            assert score == pytest.approx(sum(told) / max(1, len(told)), abs=1e-5)
    assert torch.equal(scores[0], scores[3])  # to the bit: so equal captions tie


def test_superclass_scores_a_caption_by_its_subwords(untrained, tmp_path) -> None:
    run = untrained("superclass")
    weights = load_file(run / "weights.safetensors")
    caption = "a small dog, a dog"
    subwords = sorted({*CaptionTokenizer(24)([caption])[0].tolist()} - {0, 49_406, 49_407})
    weights["idf.captions_seen"][:] = 99
    weights["idf.captions_with"][subwords[0]] = 49
    encoder = load_encoder(str(run), 0, CPU)
    save_weights(run / "weights.safetensors", weights, dict(encoder.checkpoint.config))
    encoder = load_encoder(str(run), 0, CPU)
    features = torch.randn(3, encoder.num_features, generator=torch.Generator().manual_seed(0))
    compared_by, scorer = scorer_of(encoder, Retrieval(str(run), str(tmp_path), **ON_A_CPU))
    scores, without = scorer(features, [caption, ""])
    assert (compared_by, without) == ("subwords", 1)
    logits = features @ weights["classifier.weight"].T + weights["classifier.bias"]
    rates = torch.tensor([0.5, *[0.01] * (len(subwords) - 1)])
    expected = (logits.log_softmax(1)[:, subwords] - rates.log()).mean(1)
    torch.testing.assert_close(scores[0], expected)
    assert not scores[1].any()


def test_a_table_and_shards_of_it_have_the_same_captions(tmp_path, capsys) -> None:
    (tmp_path / "images").mkdir()
    rows, samples = [], []
    for number in range(6):
        picture = png(40 * number, number)
        (tmp_path / "images" / f"{number}.png").write_bytes(picture)
        lines = [f"a dog {number}", f"a cat {number}"]
        rows += [(f"{number}.png", line) for line in lines]
        samples.append((str(number), {"png": picture, "txt": "\n".join(lines).encode()}))
    samples.append(("without", {"png": picture, "txt": b" "}))
    write_shard(tmp_path / "shards/0.tar", samples)
    with open(tmp_path / "captions.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])
    (tmp_path / "images/6.png").write_bytes(png(0, 6))
    others = [("6.png", "a dog of training", "train"), ("6.png", "a dog of validation", "val")]
    with open(tmp_path / "split.csv", "w", newline="") as file:
        every = [*others, *((*row, "test") for row in rows)]
        csv.writer(file).writerows([("image", "caption", "split"), *every])
    found = []
    for data in ("captions.csv", "split.csv", "shards", "shards/*.tar"):
        split, captions_of = draw_images(
            Retrieval("random:hybrid_mini@32", str(tmp_path / data), **ON_A_CPU)
        )
        pictures = [split.image_bytes(number) for number in range(len(split))]
        found.append(([*split.keys], captions_of, pictures))
    assert found[0] == found[1] == found[2] == found[3]
    assert len(found[0][0]) == 6
    drawn = []
    for data, seed in (("captions.csv", 0), ("shards", 0), ("shards", 1)):
        config = Retrieval("", str(tmp_path / data), max_images=3, seed=seed, **ON_A_CPU)
        drawn.append([*draw_images(config)[0].keys])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({*drawn[0]}) == 3


def test_a_broken_image_is_left_out_with_its_captions(untrained, tmp_path) -> None:
    samples = [(f"{i}", {"png": png(60 * i, i), "txt": b"a dog\na cat"}) for i in range(4)]
    samples[1] = ("1", {"png": b"no picture", "txt": b"one\ntwo\nthree"})
    write_shard(tmp_path / "data/0.tar", samples)
    run = untrained("clip_bag")
    record = retrieve(tmp_path / "out.json", run, tmp_path / "data", max_broken=0.5)
    metrics = record["metrics"]
    assert (metrics["num_images"], metrics["num_captions"]) == (3, 6)
    assert sum(metrics["broken"].values()) == 1


def test_table_and_frame_have_its_numbers(untrained, make_run, tmp_path) -> None:
    data, folder = captioned(tmp_path / "mine/test"), tmp_path / "runs/starter/retrieval"
    by_method = {
        method: retrieve(folder / f"{method}-seed0.json", run, data)["metrics"]
        for method, run in (("catlip", make_run()), ("clip", untrained("clip")))
    }
    comparisons = Comparisons(read_records([tmp_path / "runs"]))
    rows = RETRIEVAL.fill(comparisons.records.of(result.Retrieval)).rows
    assert [row["method"] for row in rows] == ["CatLIP"] * 2 + ["CLIP"] * 2 + ["Chance"] * 2
    assert rows[0]["data"] == "mine-test: 24 images, 48 captions"
    assert ["not embeddings" in row["by"] for row in rows[:4]] == [True, True, False, False]
    means = [[row[f"r{cut}"].mean for cut in CUTS] for row in rows[:4]]
    wanted = [[*metrics[way].values()] for metrics in by_method.values() for way in WAYS]
    assert means == [pytest.approx(row) for row in wanted]
    for method, metrics in by_method.items():
        for way in WAYS:
            frame = comparisons.frame
            of_way = frame[(frame.method == method) & (frame.metric == f"{way}.r1")]
            assert of_way[["kind", "task", "value"]].values.tolist() == [
                ["retrieval", "mine-test", pytest.approx(metrics[way]["r1"])]
            ]
    assert by_method["catlip"]["captions_without_class"] == 6
    assert "6 captions" in rows[0][NOTE]
