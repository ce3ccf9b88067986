"""Every difference follows from the records: by seed, of one recipe, with one interval."""

import csv
import json
from itertools import product
from statistics import fmean

import numpy as np
import pytest
from report_support import COMMITTED, compared_in, page_in
from scipy import stats

from bench.downstream.probe.result import unpacked, unpacked_ids
from catlip.records.claims import min_pairs
from catlip.records.estimate import (
    BETTER,
    CANNOT_TELL,
    NOT_WORSE,
    WORSE,
    mean_over_seeds_and_images,
)
from catlip.records.table import NOTE
from reports.pairs import FEW, NOT_ABOVE, Comparisons, Side
from reports.reading import read_records

BOTH = ("catlip", "clip")


@pytest.fixture
def lead(tmp_path):
    """The one difference of CatLIP and CLIP."""

    def read():
        (one,) = compared_in(tmp_path).headline
        return one

    return read


def seeds(mean, count=6, step=0.001):
    return [mean + step * seed for seed in range(count)]


# --- Against the files themselves -----------------------------------------------------------------

LONGEST = {  # data -> images of the longest training, and its tasks
    "photos": (404550, ("cifar10-10k", "fashion-types")),
    "fashion": (350000, ("fashion-types", "cifar10-10k")),
    "starter": (694300, ("concepts", "subgroups")),
}


def hits(scale, method, images, task):
    """[seeds, test images] in %, and [test images] which of these were drawn together."""
    found = {}
    for path in (COMMITTED / scale / "scaling").glob(f"{method}-hybrid_mini-{images}-seed*.json"):
        content = json.loads(path.read_text())
        right = [
            unpacked(row["correct"], row["num_test"])
            for row in content["samples"]["runs"]
            if (row["task"], row["fraction"], row["init"]) == (task, 1, "random")
        ]
        found[content["metrics"]["seed"]] = 100 * np.mean(right, axis=0)
        (of_task,) = [one for one in content["samples"]["test_images"] if one["task"] == task]
    clusters = of_task["clusters"]
    ids = unpacked_ids(clusters) if clusters else np.arange(len(found[0]))
    return np.array([found[seed] for seed in sorted(found)]), ids


@pytest.mark.parametrize(("scale", "task"), [(s, t) for s in LONGEST for t in LONGEST[s][1]])
def test_first_table_is_that_of_the_raw_files(committed, scale, task) -> None:
    images, tasks = LONGEST[scale]
    (one, clusters), (other, _) = (hits(scale, m, images, task) for m in ("catlip", "clip_bag"))
    probes = (COMMITTED / scale / "linear_probe").glob("random-seed*.json")
    metrics = [json.loads(path.read_text())["metrics"] for path in probes]
    untrained = [100 * found[f"{task}_top1"] for found in metrics if f"{task}_top1" in found]
    rows = [row for row in committed.tables["main"].rows if row["images"] == float(f"{images:.3g}")]
    row = rows[tasks.index(task)]
    ends = ("value", "low", "high")
    found, expected = row["difference"], mean_over_seeds_and_images(one - other, clusters)
    assert [getattr(found, end) for end in ends] == [
        pytest.approx(getattr(expected, end)) for end in ends
    ]
    shown = [row[key] for key in ("first_mean", "second_mean", "untrained")]
    assert shown == pytest.approx([one.mean(), other.mean(), fmean(untrained)])
    assert row["covers"] == f"6 seeds, {one.shape[1]:,} images"


def test_every_committed_difference_is_a_paired_t_test_of_its_seeds(committed) -> None:
    """But for the ends, where it is over test images too."""
    comparisons, over = committed.comparisons, []
    frame = comparisons.frame
    for on, one in comparisons.over_clip.items():
        if on.fraction < 1:
            continue
        rows = frame[frame.record.isin(one.records) & (frame.metric == on.metric)]
        rows = rows[rows.probe_seed.isna() & (rows.task.fillna("") == on.task)]
        means = 100 * rows.pivot_table(index="seed", columns="method", values="value")
        pairs = means[["catlip", one.second.method]].dropna()
        assert one.estimate.value == pytest.approx(-pairs.diff(axis="columns").mean().iloc[1])
        assert [*one.points] == [*pairs.index]
        over.append(one.estimate.images)
        if len(pairs) < min_pairs():
            assert one.estimate.low is None
        elif one.estimate.images is None:
            expected = stats.ttest_rel(*pairs.to_numpy().T).confidence_interval(0.95)
            assert (one.estimate.low, one.estimate.high) == pytest.approx(tuple(expected))
    assert over.count(None) > 10 < len(over) - over.count(None)


# --- What is paired, and its verdict --------------------------------------------------------------


def test_pairs_are_of_the_seeds_that_both_have_and_a_seed_is_no_run(write, lead) -> None:
    for name, seed, top1 in (("a", 0, 0.1), ("b", 0, 0.5), ("c", 1, 0.9), ("d", 7, 0.6)):
        write.probe("catlip", seed, {"concepts": top1}, name=name)
    for seed, top1 in ((7, 0.2), (0, 0.1), (3, 0.8)):
        write.probe("clip", seed, {"concepts": top1})
    assert lead().points == pytest.approx({0: 20.0, 7: 40.0})
    assert lead().means == pytest.approx((45.0, 15.0))
    assert lead().estimate.value == pytest.approx(30)


def test_sides_changed_are_the_same_with_the_other_sign(write) -> None:
    draw = np.random.default_rng(0)
    for method, seed in product(BOTH, range(6)):
        write.probe(method, seed, {"concepts": draw.random(40) < 0.5})
    comparisons, sides = compared_in(write.folder), [*map(Side, BOTH)]
    (on,) = comparisons.cells
    one, other = (comparisons.difference(on, *some).estimate for some in (sides, sides[::-1]))
    assert (other.value, other.low, other.high) == pytest.approx((-one.value, -one.high, -one.low))
    assert (one.pairs, one.images) == (6, 40)


def test_runs_of_another_recipe_are_left_out(write, lead) -> None:
    for method, seed in product(BOTH, range(4)):
        top1 = 0.9 if seed == 3 else {"catlip": 0.3, "clip": 0.2}[method]
        recipe = {"epochs": 300 if seed == 3 else 30}
        write.probe(method, seed, {"concepts": top1}, config={"recipe": recipe})
    assert lead().points == pytest.approx(dict.fromkeys(range(3), 10))


def test_what_was_probed_otherwise_is_no_answer_and_is_marked(write, tmp_path) -> None:
    for seed, method in product(range(6), (*BOTH, "siglip", "random")):
        rate = 0.7 if method == "catlip" else 0.1
        write.probe(method, seed, {"concepts": 0.3}, config={"recipe": {"max_lr": rate}})
    assert compared_in(write.folder).headline == []
    (row,) = page_in(tmp_path).tables["differences"].rows
    assert (row["second"], bool(row[NOTE])) == ("SigLIP", True)


@pytest.mark.parametrize(
    ("other", "is_compared"),
    [
        # Whole steps of batches of two sizes do not end after the same image.
        *(({"images": 100_500}, True), ({"images": 99_500}, True)),
        *(({"images": 102_000}, False), ({"images": 98_000}, False)),
        *(({"encoder": "large"}, False), ({"scale": "other"}, False), ({"root": "runs"}, False)),
    ],
)
def test_only_trainings_alike_are_paired(write, tmp_path, other, is_compared) -> None:
    for method in BOTH:
        how = {"images": 100_000, "root": "own"} | (other if method == "clip" else {})
        write.training(method, **how)
        where = {key: how[key] for key in ("scale", "root") if key in how}
        write.probe(method, 0, {"concepts": 0.3}, **where)
    folders = [one for one in tmp_path.iterdir() if one.is_dir()]
    assert len(Comparisons(read_records(folders)).headline) == is_compared


@pytest.mark.parametrize(
    ("catlip", "clip", "random", "verdict"),
    [
        (seeds(0.30), seeds(0.28, step=0.002), [0.1], BETTER),
        (seeds(0.28), seeds(0.30, step=0.002), [0.1], WORSE),
        (seeds(0.30), seeds(0.303, step=0.002), [0.1], NOT_WORSE),
        ([0.30, 0.28] * 3, [0.29] * 6, [0.1], CANNOT_TELL),
        (seeds(0.30), seeds(0.28), [], BETTER),
        (seeds(0.30), seeds(0.09), [0.1], BETTER),  # CLIP like an untrained one
        (seeds(0.08), seeds(0.06), [0.1], NOT_ABOVE),
        ([0.08, 0.15] * 3, seeds(0.06), [0.1], NOT_ABOVE),  # whose interval reaches it
        (seeds(0.08, 5), seeds(0.06, 5), [0.1], FEW),
        (seeds(0.50, 5), seeds(0.06, 5), [0.1], FEW),
        (seeds(0.50), seeds(0.06, 5), [0.1], FEW),
    ],
)
def test_verdict(write, lead, catlip, clip, random, verdict) -> None:
    for method, values in (("catlip", catlip), ("clip", clip), ("random", random)):
        for seed in range(len(values)):
            write.training(method, seed)
        write.probes(method, {"concepts": values})
    assert lead().verdict == verdict
    assert lead().untrained == (pytest.approx(10) if random else None)


# --- Which CLIP, which training -------------------------------------------------------------------


def test_opponent_is_the_text_tower_that_is_better_on_validation(write, lead) -> None:
    for method, top1 in {"catlip": 0.5, "clip": 0.4, "clip_bag": 0.45, "random": 0.1}.items():
        write.probes(method, {"concepts": seeds(top1)})
    bag, transformer = ("clip_bag", pytest.approx(5)), ("clip", pytest.approx(10))
    assert (lead().second.method, lead().estimate.value) == bag  # neither was tuned
    steps = [  # (method, accuracies on validation, their kind, encoder and images), who it is then
        (("clip", (0.1, 0.4), "tuning", "", 0), bag),  # one has no validation
        (("clip_bag", (0.3, 0.2), "tuning", "", 0), transformer),
        (("clip_bag", (0.9,), "tuning", "cnn", 0), transformer),  # another encoder's
        (("clip", (0.3, 0.2), "finalist", "", 1.4e5), transformer),
        (("clip_bag", (0.4, 0.2), "finalist", "", 1.4e5), bag),
        (("clip", (0.9,), "finalist", "", 4e5), bag),  # fewer, of another length
        (("clip_bag", (0.2,), "finalist", "", 4e5), bag),
    ]
    for (method, accuracies, kind, encoder, images), opponent in steps:
        parts = {"config": {"recipe": {"encoder": encoder}}}
        for trial, top1 in enumerate(accuracies):
            more = {"name": f"{encoder}{method}-{trial}-{images}", "images_seen": images or None}
            write.study(kind, method, {"concepts": top1}, parts=parts, trial=trial, **more)
        assert (lead().second.method, lead().estimate.value) == opponent


@pytest.mark.parametrize("clip", ["clip", "clip_bag"])
def test_only_clip_there_is_the_opponent(write, lead, clip) -> None:
    for method, top1 in (("catlip", 0.3), (clip, 0.2), ("clip_nouns", 0.1)):
        write.probe(method, 0, {"concepts": top1})
    assert lead().second == Side(clip)


def lengths(write, encoder, cells, tasks=("one",)) -> None:
    """A study: images -> how many seeds; the longer one turns the lead."""
    for (images, count), method in product(cells.items(), BOTH):
        for seed in range(count):
            top1 = 0.3 if (method == "catlip") == (images < 2_000) else 0.2
            cell = {"images": images, "seed": seed, "encoder": encoder}
            write.study("scaling", method, dict.fromkeys(tasks, top1 + seed / 1000), **cell)


@pytest.mark.parametrize(
    ("cells", "images"),
    [
        ({1_000: 6, 3_000: 6}, 3_000),
        ({1_000: 6, 3_000: 5}, 1_000),  # an interval goes before length
        ({1_000: 2, 3_000: 1}, 3_000),
        ({3_000: 6, 3_100: 6}, 3_000),  # which is no longer training
    ],
)
def test_headline_is_of_the_longest_training_with_an_interval(write, cells, images):
    lengths(write, "tiny", cells)
    (one,) = compared_in(write.folder).headline
    assert (one.on.images, one.estimate.value < 0) == (images, images >= 2_000)


def test_headline_is_of_ones_own_encoder_and_first_of_what_captions_name(write) -> None:
    write.training("catlip", encoder="tiny")
    lengths(write, "tiny", {1_000: 6}, tasks=("far", "near"))
    lengths(write, "large", {9_000: 6, 8_000: 6}, tasks=("far", "near"))
    origin = {"similarity": None, "synsets": [], "similarities": [], "classes": []}
    kinds = {"far": ["near", "random"], "near": ["exact", "near"]}
    samples = {
        f"origins_{task}": [{"label": kind, "kind": kind} | origin for kind in some]
        for task, some in kinds.items()
    }
    write.probe("catlip", 0, {}, samples=samples)
    found = [(one.on.encoder, one.on.task) for one in compared_in(write.folder).headline]
    assert found == [("tiny", "near"), ("tiny", "far")]


def test_users_data_come_first_then_ours_by_likeness_to_the_papers(write, monkeypatch, tmp_path):
    monkeypatch.setattr("reports.names.COMMITTED", tmp_path / "ours")
    for root, scale in product(("ours", "runs"), ("starter", "fashion", "photos", "zebras")):
        write.probe("catlip", 0, {"concepts": 0.3}, root=root, scale=scale)
    places = Comparisons(read_records([tmp_path / "ours", tmp_path / "runs"])).settings
    own, ours = (
        ("fashion", "photos", "zebras", "starter"),
        ("photos", "fashion", "starter", "zebras"),
    )
    assert [scale for _, scale in places] == [*own, *ours]


def test_command_writes_a_row_for_each_pair(write, program, tmp_path) -> None:
    for method, top1 in (("catlip", 0.4), ("siglip", 0.3)):
        write.probes(method, {"concepts": [top1, top1 + 0.01, top1 + 0.02]})
    words = ("pairs", "runs", "--methods", "siglip", "catlip", "-o", "pairs.csv")
    done = program("reports", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\N{MINUS SIGN}10.0" in done.stdout
    assert "3 seeds, no interval" in done.stdout
    rows = [*csv.DictReader((tmp_path / "pairs.csv").open())]
    assert [float(row["difference"]) for row in rows] == pytest.approx([-10] * 3)
    found = [(row["task"], float(row["seed"])) for row in rows]
    assert found == [("concepts", seed) for seed in range(3)]
    failed = program("reports", *words[:3], "catlip", "superclass", cwd=tmp_path)
    assert (failed.returncode, "superclass" in failed.stderr) == (2, True)
