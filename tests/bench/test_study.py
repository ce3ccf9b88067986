"""A study trains what its list says, once; what is finished is kept, and no other mixes with it."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from short_training import digests

from baselines.pretrain import recipes_of
from bench.arithmetic.flops import step_flops
from bench.downstream import linear_probe
from bench.downstream.probe.datasets import load_tasks
from bench.downstream.probe.result import score_of
from bench.measuring.factors import Factors
from bench.study import lengths, thresholds, tuning
from bench.study.engine import workers_for
from bench.study.lengths import Lengths, list_trainings, spread
from bench.study.result import LengthTraining, Trial, best_trials
from bench.study.thresholds import Thresholds
from bench.study.tuning import RANGES, Tuning, final_of, recipe_file, run_finals, trial_of
from catlip import pretrain, vocabulary
from catlip.cli import InputError
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand
from catlip.data.starter.__main__ import EDITION
from catlip.pretrain import PretrainCatLIP
from catlip.program.identity import record_changes
from catlip.recipes.pretrain import CATLIP
from catlip.records.record import Record, read_record
from catlip.records.run import read_run
from catlip.training.distributed import Rank
from catlip.vocabulary import Vocabulary, count

PROBE = linear_probe.RECIPES["starter"]
QUICK_PROBE = replace(PROBE, recipe=replace(PROBE.recipe, epochs=1, min_steps=10))
COMMITTED = Path(__file__).parents[2] / "reports/records"
STARTER_CAPTIONS = 27_772
ELSEWHERE: dict[str, Any] = {
    "shards": ("data",),
    "probe": ("starter-validation:data",),
    "vocabulary": Path("vocabulary.json"),
    "labels_dir": Path("labels"),
}


def on(starter, folder: Path) -> dict[str, Any]:
    """The settings of a study of the small starter data."""
    return {
        "shards": (str(starter.shards),),
        "probe": (f"starter-validation:{starter.root}",),
        "labels_dir": starter.labels,
        "out": folder / "study",
        "num_workers": 0,
        "workers": 1,
        "device": "cpu",
        "quiet": True,
    }


def metrics(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["metrics"]


def written(folder: Path) -> dict[Path, int]:
    """When each record was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}


@pytest.fixture
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies whose accuracies say nothing."""
    monkeypatch.setitem(linear_probe.RECIPES, "starter", QUICK_PROBE)


# --- Lengths, and what all studies share ----------------------------------------------------------


@pytest.fixture(scope="module")
def lengths_study(starter, tmp_path_factory) -> Lengths:
    places = on(starter, tmp_path_factory.mktemp("lengths"))
    config = Lengths(**places, vocabulary=starter.vocabulary, images=(64,), seeds=(0,))
    lengths.main(config)
    return config


def test_study_goes_on_with_the_trainings_that_are_missing(lengths_study) -> None:
    lost, kept = sorted(lengths_study.out.iterdir())
    before, content = written(lengths_study.out), metrics(lost)
    lost.unlink()
    lengths.main(lengths_study)
    assert written(lengths_study.out)[kept] == before[kept]
    again = metrics(lost)
    for name in ("accuracies", "flops", "final_loss", "images_seen"):
        assert again[name] == content[name]
    classes = len(Vocabulary.load(lengths_study.vocabulary))
    one = Factors("catlip", "hybrid_mini", 48, 32, "fp32", num_classes=classes)
    assert again["flops"] == pytest.approx(step_flops(one) * 64 / 32)


def test_earlier_records_are_taken_if_they_are_of_the_same_study(lengths_study, tmp_path) -> None:
    lengths.main(replace(lengths_study, out=tmp_path, earlier=lengths_study.out))
    for method in ("catlip", "clip"):
        name = f"{method}-hybrid_mini-64-seed0.json"
        assert (tmp_path / name).read_bytes() == (lengths_study.out / name).read_bytes()
    other = replace(list_trainings(lengths_study)[1], shards=("others",))
    assert record_changes(tmp_path / name, other)


def test_trainings_side_by_side_give_the_same(lengths_study, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    mine = tmp_path / "clip-hybrid_mini-64-seed0" / "clip" / "figure.png"
    mine.parent.mkdir(parents=True)
    mine.touch()  # before the training, whose files beside it are deleted in the end
    lengths.main(replace(lengths_study, out=tmp_path, workers=2, quiet=False))
    assert "2 trainings, 2 at a time" in capsys.readouterr().out
    for path in lengths_study.out.iterdir():
        alone, beside = read_record(path), read_record(tmp_path / path.name)
        assert beside["metrics"]["accuracies"] == alone["metrics"]["accuracies"]
        assert beside["metrics"]["final_loss"] == pytest.approx(alone["metrics"]["final_loss"])
        assert beside["command"] == alone["command"]
        assert (alone["environment"].get("beside"), beside["environment"]["beside"]) == (None, 1)
        assert beside["environment"]["threads"] == 1  # each has its own core
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) == 3
    assert mine in left


def test_second_probe_adds_its_tasks(lengths_study, starter, tmp_path) -> None:
    pets = tmp_path / "pets"
    for split, red in product(("train", "test"), (0, 200)):
        folder = pets / split / ("dog" if red else "cat")
        folder.mkdir(parents=True)
        for image in range(2):
            Image.new("RGB", (48, 48), (red, 30 * image, 100)).save(folder / f"{image}.png")
    out = tmp_path / "out"
    lengths.main(replace(lengths_study, out=out, probe=(*lengths_study.probe, str(pets))))
    for path in out.iterdir():
        both, one = (read_record(each) for each in (path, lengths_study.out / path.name))
        accuracies = dict(both["metrics"]["accuracies"])
        assert accuracies.pop("pets") == fmean(
            row["top1"]
            for row in both["samples"]["runs"]
            if (row["task"], row["fraction"]) == ("pets", 1)
        )
        assert accuracies == one["metrics"]["accuracies"]
        assert both["environment"]["data"]["pets"]["test"]["samples"] == 4
        assert score_of(read_run(both, LengthTraining), "pets").by_image is not None
    lengths.main(replace(lengths_study, out=tmp_path / "taken", earlier=out))
    assert digests(tmp_path / "taken") == digests(out)  # nothing was trained


@pytest.mark.parametrize(
    ("device", "encoder", "gib", "cores", "workers"),
    [
        ("cpu", "hybrid_mini", 128, 16, 16),
        ("cpu", "hybrid_mini", 8, 16, 2),
        ("cpu", "hybrid_mini", 128, 1, 1),
        ("cpu", "vit_h16", 16, 16, 1),
        ("cuda", "hybrid_mini", 80, 16, 8),
        ("cuda", "hybrid_mini", 80, 64, 32),
        ("cuda", "hybrid_mini", 8, 16, 7),
        ("cuda", "hybrid_mini", 80, 1, 1),
        ("cuda", "vit_h16", 80, 16, 1),
    ],
)
def test_small_trainings_share_a_device(device, encoder, gib, cores, workers, monkeypatch) -> None:
    rank = Rank(0, 1, torch.device(device))
    monkeypatch.setattr("catlip.training.distributed.init_distributed", lambda _: rank)
    properties = SimpleNamespace(total_memory=gib * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr("bench.study.engine.host_memory", lambda: gib * 2**30)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr(Lengths, "num_samples", STARTER_CAPTIONS)
    config = Lengths(**ELSEWHERE, encoders=(encoder,), images=(1_000,))
    assert workers_for(config, list_trainings(config)) == workers


def test_record_tells_which_data_it_was_made_from(lengths_study, starter) -> None:
    shards = open_shards(expand(str(starter.shards)))
    for path in lengths_study.out.iterdir():
        data = json.loads(path.read_text())["environment"]["data"]
        assert data["pretrain"] == {
            "digest": shards.digest,
            "samples": shards.counts.sum(),
            "edition": EDITION,
        }
        for task in load_tasks(*lengths_study.probe):
            assert data[task.name] == {"train": task.train.identity(), "test": task.test.identity()}
        assert data["concepts"]["test"]["edition"] == EDITION


def test_records_of_another_study_are_not_replaced(lengths_study) -> None:
    before = written(lengths_study.out)
    with pytest.raises(InputError, match=r"catlip-hybrid_mini-64-seed0\.json"):
        lengths.main(replace(lengths_study, probe_recipe="table_7a"))
    assert written(lengths_study.out) == before


def test_words_about_a_recipe_do_not_make_another_study(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(Lengths, "num_samples", STARTER_CAPTIONS)
    cell = list_trainings(Lengths(**ELSEWHERE, images=(1_000,), methods=("clip",), seeds=(0,)))[0]
    for name, recipe in (("words", replace(cell.recipe, about="")), ("rate", CATLIP["starter"])):
        with Record(tmp_path / f"{name}.json", "scaling", replace(cell, recipe=recipe)):
            pass
    assert not record_changes(tmp_path / "words.json", cell)
    assert record_changes(tmp_path / "rate.json", cell)


def test_cell_is_annealed_over_its_own_length(monkeypatch) -> None:
    monkeypatch.setattr(Lengths, "num_samples", STARTER_CAPTIONS)
    encoders = ("hybrid_micro", "hybrid_mini")
    lengths = (1_000, 16_000, 512_000)
    found = list_trainings(Lengths(**ELSEWHERE, images=lengths, encoders=encoders, seeds=(3, 5)))
    assert len(found) == 3 * 2 * 2 * 2 == len({cell.name for cell in found})
    whole = CATLIP["starter"]
    for recipe in (cell.recipe for cell in found if cell.method == "catlip"):
        images = recipe.iterations * recipe.micro_batch
        longer = max(1.0, images / (whole.epochs * STARTER_CAPTIONS))
        share = min(0.2, longer * whole.warmup_iterations / recipe.iterations)
        assert recipe.warmup_iterations / recipe.iterations == pytest.approx(share, rel=0.05)
    for cell in found:
        recipe = cell.recipe
        assert recipe.iterations * recipe.micro_batch == pytest.approx(cell.images, rel=0.05)
        assert recipe.warmup_iterations < recipe.iterations / 4
        assert recipe.epochs == 0


@pytest.mark.parametrize(("encoder", "own"), [("vit_l16", "_l16"), ("vit_l16_conv", "_b16")])
def test_encoder_brings_the_recipe_of_its_size(encoder, own) -> None:
    given = {"methods": ("catlip",), "encoders": (encoder,), "images": (10**9,), "seeds": (0,)}
    (cell,) = list_trainings(Lengths(**ELSEWHERE, recipe="datacomp_b16", **given))
    expected = replace(CATLIP[f"datacomp{own}"], encoder=encoder)
    for name in ("encoder", "max_lr", "micro_batch", "num_devices", "checkpointing"):
        assert getattr(cell.recipe, name) == getattr(expected, name)


def test_fraction_of_the_shards_is_spread_over_them(tmp_path, monkeypatch) -> None:
    for number in range(16):
        (tmp_path / f"{number:05}.tar").touch()
    every = (str(tmp_path),)
    assert spread(every, 1) == every
    assert len(spread(every, 0.01)) == 1
    assert [Path(path).stem for path in spread(every, 0.25)] == ["00000", "00004", "00008", "00012"]
    given = {**ELSEWHERE, "shards": every, "images": (64,), "seeds": (0,), "methods": ("catlip",)}
    monkeypatch.setattr(Lengths, "num_samples", STARTER_CAPTIONS)
    whole, part = list_trainings(Lengths(**given, fractions=(1.0, 0.25)))
    assert (whole.shards, part.shards) == (every, spread(every, 0.25))


# --- Tuning ---------------------------------------------------------------------------------------


def test_all_methods_have_the_same_trials_of_the_same_length() -> None:
    config = Tuning(**ELSEWHERE, images=6_400)
    assert trial_of(replace(config, seed=3), "clip", 0).drawn != trial_of(config, "clip", 0).drawn
    for number in range(5):
        catlip, clip = (trial_of(config, method, number) for method in ("catlip", "clip"))
        for name, value in clip.drawn.items():
            assert RANGES[name](0) <= value <= RANGES[name](1 - 1e-9)
        assert catlip.drawn.items() < clip.drawn.items()
        assert clip.drawn.keys() - catlip.drawn.keys() == {"temperature"}
        assert clip.recipe.temperature == clip.drawn["temperature"]
        assert clip.recipe.betas != catlip.recipe.betas
        for recipe in (catlip.recipe, clip.recipe):
            assert recipe.iterations * recipe.micro_batch == pytest.approx(6_400, rel=0.02)
            assert recipe.warmup_iterations < recipe.iterations / 4


@pytest.mark.parametrize("recipe", ["starter", "cc3m_b16", "cc3m_b16_1gpu"])
def test_trial_sees_as_many_images_as_asked_for(
    recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Tuning(**ELSEWHERE | {"recipe": recipe}, images=48_000)
    monkeypatch.setattr(Tuning, "num_samples", 1_000_000)
    base = config.base_recipe("catlip")
    whole = base.plan(1_000_000, seed=0).starts[-1]
    for trained, images in (
        (trial_of(config, "catlip", 0), 48_000),
        (final_of(config, "catlip", 1, 0), whole),
    ):
        plan = trained.recipe.plan(1_000_000, seed=0)
        # The sizes of 375 to 1,500 steps are drawn: the number of images differs from its mean.
        assert plan.starts[-1] == pytest.approx(images, rel=0.03)


def test_committed_trials_are_those_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tuning, "num_samples", STARTER_CAPTIONS)
    paths = sorted((COMMITTED / "starter" / "tuning").glob("*.json"))
    assert len(paths) == 7 * 16 + 2 * 8
    for path in paths:
        record = read_record(path)
        places = {name: record["config"][name] for name in ELSEWHERE}
        places["probe"] = (places["probe"],)
        config = Tuning(**places, final_images=138_880)
        one = (config, record["config"]["method"], record["config"]["trial"])
        is_final = record["kind"] == "finalist"
        trial = final_of(*one, record["config"]["seed"]) if is_final else trial_of(*one)
        assert not record_changes(path, trial.config())


@pytest.mark.usefixtures("quick_probe")
def test_test_images_are_never_opened(starter, tmp_path, monkeypatch) -> None:
    """A small study of data whose test images are not there; its best trial is trained on."""
    shutil.copytree(starter.root, tmp_path / "data")
    shutil.rmtree(tmp_path / "data/probe-test")
    places = on(starter, tmp_path) | {"probe": (f"starter-validation:{tmp_path}/data",)}
    places |= {"vocabulary": starter.vocabulary, "methods": ("catlip",)}
    config = Tuning(**places, trials=1, images=64, finalists=1, final_seeds=(0, 3))
    monkeypatch.setattr(Tuning, "num_samples", 128 / CATLIP["starter"].epochs)
    tuning.main(config)
    found = metrics(config.out / "catlip-00.json")
    assert {*found["accuracies"]} == {"concepts", "subgroups"}
    assert found["drawn"] == trial_of(config, "catlip", 0).drawn
    (final,) = config.out.glob("catlip-00-final-seed*.json")  # no other is near it
    final = read_record(final)
    assert (final["kind"], final["config"]["seed"]) == ("finalist", 0)
    assert final["metrics"]["images_seen"] == 128
    assert final["metrics"]["drawn"] == found["drawn"]
    tuned = replace(config, recipe=f"{config.out}/catlip.py:tuned").base_recipe("catlip")
    assert tuned.max_lr == found["drawn"]["max_lr"]
    with pytest.raises(InputError, match="folder-validation"):
        tuning.main(replace(config, probe=("starter:data",)))


def test_finalists_that_one_seed_does_not_tell_apart_get_a_second(monkeypatch) -> None:
    """A real trial's hits on 212 images tell 2.5 points: 5 is closer to 3 with seed 0, 7 is not."""
    record = read_record(COMMITTED / "fashion/tuning-50/catlip-13-final-seed0.json")
    top1 = {(3, 0): 0.50, (5, 0): 0.48, (7, 0): 0.47, (3, 1): 0.40, (5, 1): 0.45}

    def finished(run, training):
        accuracies = {"fashion-types": top1[training.trial, training.seed]}
        return replace(
            run, metrics=replace(run.metrics, trial=training.trial, accuracies=accuracies)
        )

    def train(config, trainings, kind, measure):
        return [finished(read_run(record, kind), training) for training in trainings]

    monkeypatch.setattr(tuning, "run_trainings", train)
    monkeypatch.setattr(Tuning, "num_samples", 1_000)
    config = Tuning(
        shards=(), labels_dir=Path(), probe=(), vocabulary=Path(), methods=("catlip",), images=64
    )
    finals, chosen = run_finals(config, {"catlip": [3, 5, 7]})
    assert len(finals) == 5
    assert best_trials(chosen, 3) == {"catlip": [5, 3]}


TUNED = {
    "starter": [
        *("catlip", "clip", "clip_bag", "siglip", "superclass", "catlip_softmax", "clip_catlip")
    ],
    "photos": ["catlip", "clip", "clip_bag"],
}
CAPTIONED = {"starter": STARTER_CAPTIONS, "photos": 8_091}  # images


@pytest.mark.parametrize(
    ("scale", "method"), [(scale, method) for scale in TUNED for method in TUNED[scale]]
)
def test_recipe_is_the_best_of_the_committed_trials(scale: str, method: str) -> None:
    paths = (COMMITTED / scale / "tuning").glob(f"{method}-*.json")
    scores: dict[str, dict[int, list[float]]] = {"tuning": {}, "finalist": {}}
    drawn = {}
    for record in map(read_record, paths):
        trial = Trial.read(record["metrics"])
        scores[record["kind"]].setdefault(trial.trial, []).append(trial.score)
        drawn[trial.trial] = trial.drawn
    assert len(scores["tuning"]) == 16
    judged = scores["finalist"] or scores["tuning"]  # trained as long as in the end, where tried
    best = drawn[max(judged, key=lambda number: fmean(judged[number]))]
    recipe = CATLIP[scale] if method == "catlip" else recipes_of(method)[scale]
    chosen = {
        "max_lr": recipe.max_lr,
        "weight_decay": recipe.weight_decay,
        "images_per_step": recipe.micro_batch,
        "least_crop": recipe.crop_scale[0],
        "temperature": recipe.temperature,
        "logit_bias": recipe.logit_bias,
    }
    steps = recipe.epochs * CAPTIONED[scale] / recipe.micro_batch
    assert recipe.warmup_iterations == pytest.approx(best.pop("warmup_share") * steps, rel=0.01)
    assert {name: chosen.pop(name) for name in best} == pytest.approx(best, rel=0.01)
    assert set(chosen.values()) <= {None}


@pytest.mark.parametrize(("method", "best"), [("catlip", 13), ("clip_bag", 10), ("superclass", 0)])
def test_file_has_the_recipe_that_a_training_gets_field_by_field(
    method, best, tmp_path, monkeypatch
) -> None:
    """The committed encoders of products were trained by the fields of their best trials."""
    monkeypatch.setattr(Tuning, "num_samples", 7_000)
    config = Tuning(**ELSEWHERE | {"recipe": "photos"}, final_images=64)
    file = tmp_path / f"{method}.py"
    file.write_text(recipe_file(config, method, best))
    recipe = replace(config, recipe=f"{file}:tuned").base_recipe(method)
    recipe = replace(recipe, epochs=0.0, iterations=recipe.num_steps(7_000))
    name = f"{method}-hybrid_mini-112000-seed0.json"
    recorded = read_record(COMMITTED / "fashion/scaling" / name)["config"]["recipe"]
    assert recipe.identity() == {name: recorded[name] for name in recipe.identity()}


def test_best_recipe_is_sought_and_written_at_the_length_that_is_asked_for(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(Tuning, "num_samples", 7_000)
    usual = Tuning(**ELSEWHERE | {"recipe": "photos"})
    longer = replace(usual, epochs=50)
    one, other = (final_of(config, "clip", 3, 0).recipe for config in (usual, longer))
    assert other.iterations == pytest.approx(one.iterations * 50 / 16, rel=0.01)
    assert other.warmup_iterations == pytest.approx(one.warmup_iterations * 50 / 16, rel=0.01)
    file = tmp_path / "clip.py"
    file.write_text(recipe_file(longer, "clip", 3))
    written = replace(usual, recipe=f"{file}:tuned").base_recipe("clip")
    assert (written.epochs, written.num_steps(7_000)) == (50, other.iterations)
    assert written.warmup_iterations == other.warmup_iterations


# --- Thresholds -----------------------------------------------------------------------------------

WEIGHTS: dict[str, bytes] = {}  # training -> its weights, before the study deletes them


@pytest.fixture(scope="module")
def pruning(starter, tmp_path_factory) -> Thresholds:
    places = on(starter, tmp_path_factory.mktemp("thresholds"))
    config = Thresholds(**places, thresholds=(3, 6), seeds=(0, 1), images=64)
    real = thresholds.train_and_probe

    def keep(study, training, folder: Path):
        outcome = real(study, training, folder)
        WEIGHTS[training.name] = (folder / "catlip/weights.safetensors").read_bytes()
        return outcome

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(thresholds, "train_and_probe", keep)
        patched.setitem(linear_probe.RECIPES, "starter", QUICK_PROBE)
        thresholds.main(config)
    return config


def test_record_counts_what_each_threshold_leaves(starter, pruning) -> None:
    captions: list[np.ndarray] = []
    for path in starter.labels.glob("*.labels.npz"):
        with np.load(path) as arrays:
            captions += np.split(arrays["values"], arrays["offsets"][1:-1].astype(int))
    counts = Counter(int(synset) for caption in captions for synset in caption)
    record = json.loads((pruning.out / "threshold.json").read_text())
    found, samples = record["metrics"]["thresholds"], record["samples"]
    assert (samples["threshold"], samples["seed"]) == ([3, 6, 3, 6], [0, 0, 1, 1])
    top1 = samples["concepts_top1"]
    last = metrics(pruning.out / "threshold/above-6-seed1.json")
    assert last["accuracies"]["concepts"] == top1[-1]
    assert found["3"]["concepts_top1"] == pytest.approx((top1[0] + top1[2]) / 2)
    assert [*found] == ["3", "6"]
    for threshold in pruning.thresholds:
        left = [sum(counts[int(synset)] > threshold for synset in caption) for caption in captions]
        row = found[str(threshold)]
        assert row["classes"] == sum(times > threshold for times in counts.values())
        assert (row["captions"], row["captions_without_label"]) == (len(captions), left.count(0))
        assert row["labels_per_caption"] == pytest.approx(np.mean(left))
        assert row["images_seen"] == 64
    for seed in (0, 1):
        runs = read_record(pruning.out / f"threshold/above-6-seed{seed}.json")["samples"]["runs"]
        found = Counter((run["seed"], run["fraction"]) for run in runs if run["task"] == "concepts")
        assert found == Counter(product(range(seed, seed + 3), (0.1, 1.0)))


def test_training_is_the_one_that_catlip_pretrain_does(starter, pruning, tmp_path) -> None:
    built = vocabulary.build(count(sorted(starter.labels.glob("*.npz"))), 6)
    built.save(tmp_path / "vocabulary.json")
    recipe = json.loads((pruning.out / "threshold/above-6-seed1.json").read_text())["config"]
    steps = {name: recipe["recipe"][name] for name in ("epochs", "iterations", "warmup_iterations")}
    places = {"labels_dir": starter.labels, "vocabulary": tmp_path / "vocabulary.json"}
    alone = PretrainCatLIP(
        replace(CATLIP["starter"], **steps), pruning.shards, tmp_path / "run", seed=1, **places
    )
    pretrain.main(replace(alone, num_workers=0, device="cpu", quiet=True))
    assert WEIGHTS["above-6-seed1"] == (tmp_path / "run/weights.safetensors").read_bytes()


def test_more_thresholds_only_add_what_is_new(pruning, quick_probe) -> None:
    before = written(pruning.out / "threshold")
    thresholds.main(replace(pruning, thresholds=(3, 9), seeds=(0,)))
    after = written(pruning.out / "threshold")
    assert {path.name for path in after.keys() - before.keys()} == {
        *("vocabulary-above-9.json", "above-9-seed0.json")
    }
    path = pruning.out / "threshold/above-3-seed0.json"
    assert after[path] == before[path]
