"""What an encoder knows untrained: its neighbours, the rows of its own classifier, and prompts."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from small_data import ON_A_CPU, png, write_folders

from baselines.methods import BASELINES
from baselines.openclip import CaptionTokenizer, text_tower
from bench.downstream.classify.accuracy import Features
from bench.downstream.classify.datasets import Split, Task, load_tasks, name_labels
from bench.downstream.classify.prompts import class_names, embed_classes, prompted_rows, templates
from bench.downstream.encoders.load import load_encoder
from bench.downstream.readouts import Readouts, main, neighbour_hits, way_of, zero_shot
from catlip.encoder import build_encoder
from catlip.record import Record
from catlip.training.checkpoint import save_weights

CPU = torch.device("cpu")


def features(values: list[list[float]], labels: list[int]) -> Features:
    return Features(torch.tensor(values), torch.tensor(labels), np.arange(len(labels)))


def test_images_that_are_in_the_training_set_are_their_own_nearest_neighbours() -> None:
    draw = torch.Generator().manual_seed(0)
    values, labels = torch.randn(50, 16, generator=draw), torch.randint(10, (50,), generator=draw)
    found = Features(values, labels, np.arange(50))
    # By cosine, lengths do not matter, and itself has by far the greatest weight.
    longer = replace(found, values=values * torch.rand(50, 1, generator=draw) * 9)
    assert neighbour_hits(found, longer, 10, neighbours=1) == (1, 1)
    assert neighbour_hits(found, longer, 10, neighbours=20)[0] > 0.9


def test_neighbours_vote_by_the_exponential_of_their_cosine() -> None:
    near, far = [1.0, 0.0], [math.cos(0.6), math.sin(0.6)]
    weight = math.exp((1 - math.cos(0.6)) / 0.07)  # of one near neighbour, in far ones
    assert 12 < weight < 13
    for number, expected in ((12, 1.0), (13, 0.0)):
        train = features([near] + [far] * number, [0] + [1] * number)
        assert neighbour_hits(train, features([near], [0]), 2, neighbours=20)[0] == expected
    # Of twelve neighbours: the thirteenth does not vote.
    assert neighbour_hits(train, features([near], [0]), 2, neighbours=12)[0] == 1.0


def read_out(out, encoder: object, data: str, **options: Any) -> dict[str, Any]:
    main(Readouts(str(encoder), data, out, **ON_A_CPU | options))
    assert "NaN" not in out.read_text()
    return json.loads(out.read_text())


def test_the_labels_of_copied_rows_compete_and_the_others_never_win(make_run, tmp_path) -> None:
    run = make_run(synsets=("dog.n.01", "cat.n.01"))
    encoder = load_encoder(str(run), 0, CPU)
    unknown = [f"qwertz{number}" for number in range(9)]
    labels = name_labels("folder", ("qwertz", "dog", "cat", *unknown))
    empty = Split(tmp_path, [], np.zeros(0, dtype=np.int64), bytes)
    record = Record(tmp_path / "readout.json", "readout", {})
    task = Task("folder", labels, empty, empty)
    scores = zero_shot(Readouts(str(run), ""), encoder, task, record)
    rows = encoder.checkpoint.classifier["weight"]
    with torch.inference_mode():
        found = scores(torch.cat([rows * 10, -rows * 10]))
        expected = torch.cat([rows @ rows.T, -rows @ rows.T]) * 10
    torch.testing.assert_close(found[:, 1:3], expected)
    assert found.isinf().sum(1).tolist() == [10] * 4
    assert found.argmax(1)[:2].tolist() == [1, 2]
    assert way_of(encoder) == "classifier rows"
    assert [row["kind"] for row in record.samples["origins_folder"]].count("random") == 10


def test_a_classifier_that_knows_its_nouns_classifies_images_untrained(make_run, tmp_path) -> None:
    run, data = make_run(), write_folders(tmp_path / "data", ("cat", "dog", "qwertz"))
    encoder, weights = load_encoder(str(run), 0, CPU), load_file(run / "weights.safetensors")
    cat, dog = (encoder.module(encoder.preprocess(png(level, 0))[None])[0] for level in (0, 127))
    away, middle = dog - cat, (dog + cat) / 2
    away -= middle * (away @ middle) / (middle @ middle)
    # The vocabulary begins with dog and cat.
    weights["classifier.weight"][:2] = torch.stack([away, -away])
    save_weights(run / "weights.safetensors", weights, dict(encoder.checkpoint.config))
    record = read_out(tmp_path / "readout.json", run, data)
    assert record["metrics"]["data_knn_top1"] == 1
    for top in ("top1", "top5"):  # of what no class stands for, nothing
        assert record["metrics"][f"data_zero_shot_{top}"] == pytest.approx(2 / 3)
    kinds = [row["kind"] for row in record["samples"]["origins_data"]]
    assert kinds == ["exact", "exact", "random"]
    unknown = write_folders(tmp_path / "other", ("qwertz", "qwertzu"))
    other = read_out(tmp_path / "other.json", run, unknown)
    assert other["metrics"]["other_knn_top1"] == 1  # what can be read out is
    assert "other_zero_shot_top1" not in other["metrics"]
    assert any("alpha" in note for note in other["notes"])


def test_a_run_of_clip_classifies_by_prompts(trained, starter, tmp_path) -> None:
    clip, catlip = (
        read_out(tmp_path / f"{name}.json", trained[name], f"starter:{starter.root}")
        for name in ("clip", "catlip")
    )
    metrics = clip["metrics"]
    assert (metrics["method"], metrics["zero_shot"]) == ("clip", "prompts")
    for task in ("concepts", "subgroups"):
        assert 0 <= metrics[f"{task}_zero_shot_top1"] <= metrics[f"{task}_zero_shot_top5"] <= 1
        assert metrics[f"{task}_knn_top1"] <= 1
        assert metrics[f"{task}_num_test"] > 0
    assert catlip["metrics"]["zero_shot"] == "classifier rows"


@pytest.mark.parametrize(
    "spelling", ["random:hybrid_mini@32", "random:timm/test_resnet", "superclass"]
)
def test_an_encoder_with_neither_is_not_asked(spelling, untrained, cats_and_dogs, tmp_path) -> None:
    spelling = spelling if ":" in spelling else untrained(spelling)
    record = read_out(tmp_path / "readout.json", spelling, cats_and_dogs)
    assert not [name for name in record["metrics"] if "zero_shot" in name]
    assert record["metrics"]["data_knn_top1"] == 1
    assert record["metrics"]["data_num_test"] == 8


def test_broken_pictures_are_named_and_left_out(tmp_path) -> None:
    data = write_folders(tmp_path / "data", ("cat", "dog"))
    (tmp_path / "data/val/dog/9.png").write_bytes(b"")
    record = read_out(tmp_path / "readout.json", "random:hybrid_mini@32", data)
    assert (record["metrics"]["data_num_test"], record["metrics"]["broken"]) == (8, {"empty": 1})
    assert record["samples"]["broken_keys"] == [f"{tmp_path}/data/val/dog/9.png (empty)"]


def task_of(name: str, *names: str) -> Any:
    return SimpleNamespace(name=name, labels=name_labels(name, names))


def test_a_class_is_the_mean_of_its_prompts_as_unit_vectors() -> None:
    task, said = task_of("folder", "hot_dog", "musical-instrument"), []

    def tokenize(prompts: list[str]) -> torch.Tensor:
        said.extend(prompts)
        return torch.arange(len(said) - len(prompts), len(said))

    def embed(tokens: torch.Tensor) -> torch.Tensor:
        rows = [torch.arange(1.0, 5.0).roll(int(token)) * (token + 1) for token in tokens]
        return torch.stack(rows)

    rows = embed_classes(embed, tokenize, task, CPU)
    assert said[:3] == ["hot dog", "a picture of a hot dog.", "a drawing of a hot dog."]
    assert said[3] == "musical instrument"
    assert rows.norm(dim=1).tolist() == pytest.approx([1, 1])
    for number, row in enumerate(rows):
        unit = F.normalize(embed(torch.arange(3 * number, 3 * number + 3)), dim=1)
        torch.testing.assert_close(row, F.normalize(unit.sum(0), dim=0))


def test_imagenet_has_openclip_s_names_and_eighty_templates() -> None:
    task = task_of("imagenet", "n01440764", "n02084071")
    assert class_names(task) == ["tench", "dog"]  # which is none of its classes
    assert len(templates(task)) == 80
    assert templates(task)[0]("tench") == "a bad photo of a tench."


@pytest.mark.parametrize("context", [24, 32])
def test_a_run_of_clip_compares_what_its_objective_would(untrained, cats_and_dogs, context) -> None:
    run = untrained("clip", context)
    torch.manual_seed(0)
    text = replace(text_tower("hybrid_mini"), context=context)
    objective = BASELINES["clip"](build_encoder("hybrid_mini", 32), text).eval()
    encoder, (task,) = load_encoder(str(run), 0, CPU), load_tasks(cats_and_dogs)
    image = encoder.preprocess(task.test.image_bytes(0))[None]
    tokens = CaptionTokenizer(context)([template("dog") for template in templates(task)])
    with torch.inference_mode():
        pixels, words = objective.unit_vectors(objective.image_encoder(image), tokens)
        scores = prompted_rows(encoder, str(run), task)(encoder.module(image))
    torch.testing.assert_close(scores[0, 1], F.normalize(words.mean(0), dim=0) @ pixels[0])


def test_an_openclip_model_compares_what_it_would_itself(tmp_path, cats_and_dogs) -> None:
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32").eval()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    spelling = f"openclip:ViT-S-32/{tmp_path / 'model.pt'}"
    encoder, (task,) = load_encoder(spelling, 0, CPU), load_tasks(cats_and_dogs)
    image = encoder.preprocess(task.test.image_bytes(0))[None]
    scores = prompted_rows(encoder, spelling, task)
    with torch.inference_mode():
        mean, std = (
            torch.tensor(values)[:, None, None]
            for values in (encoder.preprocess.mean, encoder.preprocess.std)
        )
        pixels = F.normalize(model.encode_image((image / 255 - mean) / std), dim=1)
        prompts = [template("cat") for template in templates(task)]
        words = model.encode_text(open_clip.get_tokenizer("ViT-S-32")(prompts))
        cat = F.normalize(F.normalize(words, dim=1).mean(0), dim=0)
        found = scores(encoder.module(image))[0, 0]
        torch.testing.assert_close(found, pixels[0] @ cat, rtol=1e-3, atol=1e-4)
