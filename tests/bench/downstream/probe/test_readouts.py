"""What an encoder knows untrained: its neighbours, the rows of its own classifier, and prompts."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from small_data import ON_A_CPU, png, write_folders, write_noise
from torch import nn

from baselines.methods import BASELINES
from baselines.openclip import CaptionTokenizer, text_tower
from bench.downstream.outputs import data_name, encoder_name
from bench.downstream.probe.config import Readouts
from bench.downstream.probe.datasets import load_tasks, name_labels
from bench.downstream.probe.features import Extractor, Features
from bench.downstream.probe.readouts import (
    PLAIN_TEMPLATES,
    Towers,
    choose_prompts,
    embed_classes,
    main,
    names_head,
    neighbour_hits,
    towers_of,
)
from catlip.cli import InputError
from catlip.encoder import build_encoder
from catlip.encoders.load import load_encoder
from catlip.records.record import read_record
from catlip.training.checkpoint import save_weights

CPU = torch.device("cpu")


def features(values: list[list[float]], labels: list[int]) -> Features:
    return Features(torch.tensor(values), torch.tensor(labels), np.arange(len(labels)))


def test_neighbours_vote_by_the_exponential_of_their_cosine() -> None:
    near, far = [1.0, 0.0], [math.cos(0.6), math.sin(0.6)]
    weight = math.exp((1 - math.cos(0.6)) / 0.07)  # of one near neighbour, in far ones
    assert 12 < weight < 13
    for number, expected in ((12, 1.0), (13, 0.0)):
        train = features([near] + [far] * number, [0] + [1] * number)
        assert neighbour_hits(train, features([near], [0]), 2, neighbours=20)[0] == expected
    # The thirteenth neighbour does not vote among twelve.
    assert neighbour_hits(train, features([near], [0]), 2, neighbours=12)[0] == 1.0


def read_out(out, encoder: object, data: str, **options: Any) -> dict[str, Any]:
    main(Readouts(str(encoder), data, out, **ON_A_CPU | options))
    assert "NaN" not in out.read_text()
    return json.loads(out.read_text())


def test_so_many_neighbours_vote_as_are_asked_for(tmp_path) -> None:
    """On noise, where other numbers of neighbours are right about other images."""
    data = write_noise(tmp_path / "data", 128)
    (task,) = load_tasks(data)
    encoder = load_encoder("random:hybrid_mini@32", 0, CPU)
    extractor = Extractor(encoder, SimpleNamespace(**ON_A_CPU))
    train, test = extractor(task.train), extractor(task.test)
    expected = [neighbour_hits(train, test, 4, neighbours) for neighbours in (1, 20)]
    assert expected[0] != expected[1]
    metrics = read_out(tmp_path / "1.json", "random:hybrid_mini@32", data, neighbours=1)["metrics"]
    assert (metrics["data_knn_top1"], metrics["data_knn_top5"]) == expected[0]


def test_classifier_that_knows_its_nouns_classifies_images_untrained(make_run, tmp_path) -> None:
    run, data = make_run(), write_folders(tmp_path / "data", ("cat", "dog", "qwertz"))
    encoder, weights = load_encoder(str(run), 0, CPU), load_file(run / "weights.safetensors")
    cat, dog = (encoder.module(encoder.preprocess(png(level, 0))[None])[0] for level in (0, 127))
    away, middle = dog - cat, (dog + cat) / 2
    away -= middle * (away @ middle) / (middle @ middle)
    # The vocabulary begins with dog and cat.
    weights["classifier.weight"][:2] = torch.stack([away, -away])
    save_weights(run / "weights.safetensors", weights, dict(encoder.checkpoint.config))
    record = read_out(tmp_path / "readout.json", run, data)
    metrics = record["metrics"]
    assert (metrics["data_knn_top1"], metrics["zero_shot"]) == (1, "classifier rows")
    for top in ("top1", "top5"):  # of what no class stands for, nothing
        assert metrics[f"data_zero_shot_{top}"] == pytest.approx(2 / 3)
    kinds = [row["kind"] for row in record["samples"]["origins_data"]]
    assert kinds == ["exact", "exact", "random"]
    unknown = write_folders(tmp_path / "other", ("qwertz", "qwertzu"))
    other = read_out(tmp_path / "other.json", run, unknown)
    assert other["metrics"]["other_knn_top1"] == 1  # what can be read out is
    assert "other_zero_shot_top1" not in other["metrics"]
    assert any("zero-shot" in note for note in other["notes"])


@pytest.mark.parametrize("spelling", ["random:timm/test_resnet", "superclass"])
def test_encoder_with_neither_is_not_asked(spelling, untrained, cats_and_dogs, tmp_path) -> None:
    spelling = spelling if ":" in spelling else untrained(spelling)
    record = read_out(tmp_path / "readout.json", spelling, cats_and_dogs)
    assert not [name for name in record["metrics"] if "zero_shot" in name]
    assert record["metrics"]["data_knn_top1"] == 1
    assert record["metrics"]["data_num_test"] == 8


def task_of(name: str, *names: str) -> Any:
    return SimpleNamespace(name=name, labels=name_labels(name, names))


def test_class_is_the_mean_of_its_prompts_as_unit_vectors() -> None:
    task, embedded = task_of("folder", "hot_dog", "musical-instrument"), []

    def tokenize(prompts: list[str]) -> torch.Tensor:
        embedded.extend(prompts)
        return torch.arange(len(embedded) - len(prompts), len(embedded))

    def embed(tokens: torch.Tensor) -> torch.Tensor:
        rows = [torch.arange(1.0, 5.0).roll(int(token)) * (token + 1) for token in tokens]
        return torch.stack(rows)

    towers = Towers(tokenize, embed, nn.Identity(), CPU)
    rows = embed_classes(towers, task, PLAIN_TEMPLATES)
    assert embedded[:3] == ["hot dog", "a picture of a hot dog.", "a drawing of a hot dog."]
    assert embedded[3] == "musical instrument"
    assert rows.norm(dim=1).tolist() == pytest.approx([1, 1])
    for number, row in enumerate(rows):
        unit = F.normalize(embed(torch.arange(3 * number, 3 * number + 3)), dim=1)
        torch.testing.assert_close(row, F.normalize(unit.sum(0), dim=0))


@pytest.mark.parametrize("context", [24, 32])
def test_run_of_clip_compares_what_its_objective_would(untrained, cats_and_dogs, context) -> None:
    run = untrained("clip", context)
    torch.manual_seed(0)
    text = replace(text_tower("hybrid_mini"), context=context)
    objective = BASELINES["clip"](build_encoder("hybrid_mini", 32), text).eval()
    encoder, (task,) = load_encoder(str(run), 0, CPU), load_tasks(cats_and_dogs)
    image = encoder.preprocess(task.test.image_bytes(0))[None]
    tokens = CaptionTokenizer(context)([template("dog") for template in PLAIN_TEMPLATES])
    with torch.inference_mode():
        pixels, words = objective.unit_vectors(objective.image_encoder(image), tokens)
        towers = towers_of(encoder, str(run))
        scores = towers.cosines(embed_classes(towers, task, PLAIN_TEMPLATES))(encoder.module(image))
    torch.testing.assert_close(scores[0, 1], F.normalize(words.mean(0), dim=0) @ pixels[0])


def test_openclip_model_compares_what_it_would_itself(tmp_path, cats_and_dogs) -> None:
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32").eval()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    spelling = f"openclip:ViT-S-32/{tmp_path / 'model.pt'}"
    encoder, (task,) = load_encoder(spelling, 0, CPU), load_tasks(cats_and_dogs)
    image = encoder.preprocess(task.test.image_bytes(0))[None]
    towers = towers_of(encoder, spelling)
    scores = towers.cosines(embed_classes(towers, task, PLAIN_TEMPLATES))
    with torch.inference_mode():
        mean, std = (
            torch.tensor(values)[:, None, None]
            for values in (encoder.preprocess.mean, encoder.preprocess.std)
        )
        pixels = F.normalize(model.encode_image((image / 255 - mean) / std), dim=1)
        words = model.encode_text(
            open_clip.get_tokenizer("ViT-S-32")([template("cat") for template in PLAIN_TEMPLATES])
        )
        cat = F.normalize(F.normalize(words, dim=1).mean(0), dim=0)
        found = scores(encoder.module(image))[0, 0]
        torch.testing.assert_close(found, pixels[0] @ cat, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("right", "chosen"),
    [(0, "the bare name"), (1, "a picture of a NAME."), (2, "a drawing of a NAME.")],
)
def test_prompts_are_those_that_classify_the_training_images_best(right, chosen) -> None:
    task, (cat, dog) = task_of("folder", "cat", "dog"), torch.eye(2)

    def tokenize(prompts: list[str]) -> torch.Tensor:
        return torch.tensor(
            [
                ["cat" in prompt, template(prompt.split()[-1].strip(".")) == prompt]
                for prompt in prompts
                for template in PLAIN_TEMPLATES[right : right + 1]
            ]
        )

    def embed(tokens: torch.Tensor) -> torch.Tensor:
        """The right template gives what the images are, any other one the opposite."""
        return torch.stack([cat if is_cat == is_right else dog for is_cat, is_right in tokens])

    train = features([[1.0, 0.0], [0.0, 1.0]], [0, 1])
    rows, words = choose_prompts(Towers(tokenize, embed, nn.Identity(), CPU), task, train)
    assert words.startswith(chosen)
    assert torch.equal(rows, torch.eye(2))


def test_probe_started_at_names_classifies_as_zero_shot_does(untrained, cats_and_dogs) -> None:
    run = untrained("clip")
    encoder, (task,) = load_encoder(str(run), 0, CPU), load_tasks(cats_and_dogs)
    train = Features(
        *(torch.randn(8, encoder.num_features), torch.tensor([0, 1] * 4)), np.arange(8)
    )
    head, words = names_head(encoder, str(run), task, train)
    towers = towers_of(encoder, str(run))
    rows, other = choose_prompts(towers, task, train)
    assert words == other
    with torch.inference_mode():
        lengths = towers.project(train.values).norm(dim=1, keepdim=True)
        expected = towers.cosines(rows)(train.values) / 0.07 * lengths / lengths.mean()
        torch.testing.assert_close(head(train.values), expected, rtol=1e-4, atol=1e-4)


# --- Each encoder and data set has a record of its own, and none replaces another's.


ONE, OTHER = "random:hybrid_mini@32", "random:vit_tiny16@32"


def test_each_encoder_and_data_set_has_its_record(cats_and_dogs, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pets = write_folders(tmp_path / "pets", ("cat", "dog"))
    configs = [
        Readouts(encoder, data, **ON_A_CPU)
        for encoder, data in ((ONE, cats_and_dogs), (OTHER, cats_and_dogs), (ONE, pets))
    ]
    for config in configs:
        main(config)
    paths = sorted(Path("runs/bench/readout").glob("*.json"))
    assert paths == sorted(config.out for config in configs)
    records = [read_record(config.out) for config in configs]
    assert [record["config"]["encoder"] for record in records] == [ONE, OTHER, ONE]

    before = [path.stat().st_mtime_ns for path in paths]
    main(replace(configs[0], num_workers=1))  # the same run: its record is kept
    for changes, name in (({"neighbours": 3}, "neighbours"), ({"seed": 5}, "encoder_digest")):
        with pytest.raises(InputError, match=name):
            main(replace(configs[0], **changes))
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert not list(Path("runs").rglob("*.partial"))


def test_record_is_named_by_the_spellings_of_encoder_and_data() -> None:
    for spelling, name in {
        "runs/starter/pretrain/catlip-seed0": "starter-catlip-seed0",
        "/data/vit_b16.safetensors": "data-vit_b16",
        "openclip:ViT-B-16/datacomp_xl_s13b_b90k": "openclip-ViT-B-16-datacomp_xl_s13b_b90k",
    }.items():
        assert encoder_name(spelling) == name
    for spelling, name in {
        "imagenet:/data/imagenet": "imagenet",
        "folder:/data/pets/": "folder-pets",
        "/data/pets/": "folder-pets",
        "coco:data/starter-scenes/coco": "coco",
        "wds:hf://datasets/clip-benchmark/wds_vtab-caltech101": "wds-vtab-caltech101",
    }.items():
        assert data_name(spelling) == name
