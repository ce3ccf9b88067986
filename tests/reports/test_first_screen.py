"""The first screen answers for whatever data the records are of: tables, cards, figure, caveat."""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from report_support import page_in, records_in, step_times, table

from catlip.records.blocks import Answer, Answers
from catlip.records.estimate import BETTER, WORSE
from catlip.records.table import signed
from reports.__main__ import Report
from reports.__main__ import main as write_page
from reports.read.records import read_records
from reports.read.setting import settings
from reports.readme import elsewhere
from reports.sections import Page, build_page
from reports.summary.answers import (
    advice,
    after_epochs,
    as_good,
    compared_tasks,
    ends_of_study,
    larger_encoders,
    longer_and_shorter,
)

IMAGES = 5000
GPU = {"device": "NVIDIA H100", "device_count": 8, "cpu": "AMD EPYC", "revision": "abc"}
TASKS = {  # the accuracy of each method
    "places365": {"catlip": 0.40, "clip": 0.38, "random": 0.05},
    "imagenet": {"catlip": 0.44, "clip": 0.40, "random": 0.02},
}


@pytest.fixture
def write_probes(write_probes) -> Callable[..., None]:
    """Write linear probes of one method, one a seed, each with a bit for each test image."""
    return partial(write_probes, images=IMAGES)


@pytest.fixture
def page_of_cc3m(write_record, write_training, write_probes, tmp_path) -> Page:
    """The page of both methods' trainings on CC3M, probed on ImageNet-1k and Places365."""
    for method, seed in product(("catlip", "clip"), range(6)):
        seconds = (20_000.0 if method == "catlip" else 30_000.0) + seed
        more = {"epochs_seen": 25.0, "parameters_total": 104_500_000}
        more |= {"parameters_image": 85_800_000}
        run = {"scale": "cc3m", "environment": GPU, "encoder": "vit_b16", "images": 72e6}
        write_training(method, seed, seconds, more=more, **run)
    for method, (task, top1) in product(("catlip", "clip", "random"), TASKS.items()):
        write_probes(method, {task: [top1[method]] * 6}, scale="cc3m", environment=GPU)
    metrics = step_times({"clip/catlip": (1.6, 1.5, 1.7)}, flops_ratios={"clip/catlip": 1.17})
    parts = {"metrics": metrics, "config": {"model": "vit_b16"}, "environment": GPU}
    write_record("step_time", "vit_b16", scale="cc3m", **parts)
    return page_in(tmp_path)


def answers_of(page: Page) -> list[Answer]:
    (block,) = [block for block in page.summary.blocks if isinstance(block, Answers)]
    return list(block.answers)


def test_first_screen_of_cc3m_is_whole(page_of_cc3m):
    page = page_of_cc3m
    assert list(page.headline.columns) == [
        *("Method", "Seeds", "ImageNet-1k, top-1 (%)", "Places365, top-1 (%)"),
        *("Training time (s)", "Step time, relative"),
    ]
    first = {row[0].text: [row[2].text, row[3].text] for row in page.headline.rows}
    assert first == {
        "Random init": ["2.0 ± 0.0", "5.0 ± 0.0"],
        "CatLIP": ["44.0 ± 0.0", "40.0 ± 0.0"],
        "CLIP": ["40.0 ± 0.0", "38.0 ± 0.0"],
    }
    good, cheap, why = answers_of(page)
    assert good.short == "Here it is 2.0 to 4.0 points better."
    assert good.sentences == [
        "95 %: +3.8 to +4.2 on ImageNet-1k, +1.8 to +2.2 on Places365; 6 seeds, 5,000 test images."
    ]
    assert cheap.short.startswith("Yes: on 8 x NVIDIA H100 CLIP takes 1.50 to 1.60 times")
    assert "1.60 times as long: a factor of 1.17 for its matrix products, of 1.37" in why.short
    assert "ImageNet-1k +4.0" in next(iter(page.figures)).alt
    texts = [getattr(block, "words", "") for block in page.summary.blocks]
    sentences = [sentence for answer in (good, cheap, why) for sentence in answer.sentences]
    words = " ".join([page.about, *texts, *sentences])
    assert "2,880,000 captioned images at cc3m scale, 72,000,000 seen in a training" in words
    assert "Encoders of 85.8 M parameters" in words
    assert "8 x NVIDIA H100" in page.about
    assert "use CatLIP" in words
    for of_the_starter in ("emoji", "drawing", "concept", "pipeline"):
        assert of_the_starter not in words + page.headline.caption


def test_most_important_tasks_come_first(write_probes, read_setting, tmp_path):
    many = {f"set{number}": [0.5] for number in range(4)}
    write_probes("catlip", many | {"imagenet": [0.4], "places365": [0.3], "alone": [0.9]})
    write_probes("clip", many | {"imagenet": [0.4], "places365": [0.3]})
    page = page_in(tmp_path)
    assert read_setting().tasks == ["imagenet", "places365", *many, "alone"]
    assert [column for column in page.headline.columns if "top-1" in column] == [
        *("ImageNet-1k, top-1 (%)", "Places365, top-1 (%)", "set0 (10 classes), top-1 (%)")
    ]
    assert "4 more tasks below" in page.headline.caption
    below = " ".join(table(page, "worth").columns)
    assert all(task in below for task in (*many, "alone"))


def test_data_of_ones_own_come_first(write_probes, write_training, tmp_path):
    """And half a comparison comes last."""
    for scale in ("starter", "mine", "begun"):
        write_training("catlip", scale=scale)
        write_probes("catlip", {"concepts": [0.3]}, scale=scale)
        if scale != "begun":
            write_probes("clip", {"concepts": [0.2]}, scale=scale)
    found = settings(records_in(tmp_path))
    assert [setting.scale for setting in found] == ["mine", "starter", "begun"]
    assert page_in(tmp_path).headline.title == "All methods, on Device A"


@pytest.mark.parametrize(
    ("study", "whose"), [("study", "study/"), ("reports/records", "the authors' ")]
)
def test_answer_of_two_seeds_names_the_study(study, whose, write_probes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for root, seeds in (("runs", 2), (study, 10)):
        write_probes("catlip", {"concepts": [0.33, 0.36] * (seeds // 2)}, root=root)
        write_probes("clip", {"concepts": [0.24] * seeds}, root=root)
    answer = answers_of(build_page(read_records([Path("runs"), Path(study)])))[0]
    assert answer.short == (
        "CatLIP is ahead by 9.0 to 12.0 points in both seeds; an interval needs 6."
    )
    assert "+9.0 and +12.0 on concepts; 2 seeds" in answer.sentences[0]
    assert answer.sentences[-1].startswith(f"With 10 seeds, {whose}starter found +10.5 points on")
    alone = answers_of(build_page(read_records([Path("runs")])))[0]
    assert not any("study" in sentence for sentence in alone.sentences)


def test_answer_has_the_least_and_the_most_of_the_study(write_study, read_setting):
    leads = {("tiny", 8_000): 0.01, ("tiny", 16_000): -0.002, ("large", 8_000): 0.05}
    for ((encoder, images), lead), method, seed in product(
        leads.items(), ("catlip", "clip"), range(6)
    ):
        top1 = {"garden": 0.3 + seed / 500 + lead * (method == "catlip") * (1 + seed / 50)}
        more = {"images": images, "seed": seed, "encoder": encoder, "images_seen": images}
        flops = images * (4e6 if encoder == "large" else 2e6)
        write_study("scaling", method, top1, scale="mine", flops=flops, **more)
    assert ends_of_study(read_setting()) == (
        "\N{MINUS SIGN}0.2 (1.0\N{MULTIPLICATION SIGN} FLOPs, 16,000 images) "
        "to +5.2 (2.0\N{MULTIPLICATION SIGN}, 8,000)"
    )


def test_answer_of_a_study_is_that_of_its_longest_trainings(write_study, read_setting):
    for method, seed, images in product(("catlip", "clip"), range(6), (1_000, 2_000)):
        top1 = 0.3 if (method == "catlip") == (images == 2_000) else 0.2
        more = {"images": images, "images_seen": images, "flops": 2e6 * images, "seed": seed}
        write_study("scaling", method, {"cifar10": top1}, scale="mine", **more)
    answer = as_good(read_setting())
    assert "on CIFAR-10; 6 seeds" in answer.sentences[0]
    assert answer.short.startswith("Here it is 10.0 points better, \N{MINUS SIGN}10.0 (1.0")


def test_larger_encoder_is_as_much_larger_as_an_image_costs_more(write_study, read_setting):
    sizes = {"small": (2e6, (1_000, 2_000)), "large": (9e6, (4_000,)), "tiny": (1e6, (1_000,))}
    for (encoder, (flops, lengths)), method in product(sizes.items(), ("catlip", "clip")):
        for images, seed in product(lengths, range(2)):
            cell = {"encoder": encoder, "images": images, "seed": seed, "flops": flops * images}
            write_study("scaling", method, {"garden": 0.5}, scale="mine", **cell)
    (((encoder, times), lengths),) = larger_encoders(read_setting()).items()
    assert (encoder, times, [*lengths]) == ("large", 4.5, [4_000])


@pytest.mark.parametrize(("clip", "short"), [(0.1, "Not yet known: neither"), (0.3, "CLIP is")])
def test_what_learnt_nothing_is_not_compared(clip, short, write_probes, read_setting):
    for method, top1 in (("catlip", 0.1), ("clip", clip), ("random", 0.12)):
        write_probes(method, {"garden": [top1, top1 + 0.01]})
    assert as_good(read_setting()).short.startswith(short)


@pytest.mark.parametrize(
    ("garden", "short"),
    [
        (
            [0.30, 0.28],
            "It depends on the task: better on CIFAR-10; cannot tell on garden (at most 1.1 points "
            "worse, 1.1 better).",
        ),
        ([0.291, 0.289], "At least as good: better on CIFAR-10; not worse on garden."),
    ],
)
def test_tasks_that_disagree_are_named(garden, short, write_probes, read_setting):
    write_probes("catlip", {"cifar10": [0.6] * 6, "garden": garden * 3})
    write_probes("clip", {"cifar10": [0.5] * 6, "garden": [0.29] * 6})
    assert as_good(read_setting()).short == short


@pytest.mark.parametrize(
    ("seeds", "ours", "words"),
    [(2, 0.4, "do not decide"), (6, 0.4, "use CatLIP"), (6, 0.2, "suggests CLIP, unless")],
)
def test_advice_is_no_surer_than_the_answer(
    write_probes, write_record, read_setting, seeds, ours, words
):
    write_probes("catlip", {"concepts": [ours] * seeds})
    write_probes("clip", {"concepts": [0.3] * seeds})
    write_record("step_time", "tiny", metrics=step_times({"clip/catlip": (1.6, 1.5, 1.7)}))
    assert words in advice(read_setting())


@pytest.mark.parametrize(("longer", "turns"), [(0.2, True), (0.4, False)])
def test_longer_training_on_other_data_can_turn_the_advice(
    write_training, write_probes, write_study, write_record, tmp_path, longer, turns
):
    for scale, (method, top1) in product(("starter", "photos"), (("catlip", 0.5), ("clip", 0.3))):
        for seed in range(6):
            write_training(method, seed, scale=scale, more={"epochs_seen": 10.0})
        write_probes(method, {"concepts": [top1 + 0.01 * seed for seed in range(6)]}, scale=scale)
    write_record("step_time", "tiny", metrics=step_times({"clip/catlip": (1.6, 1.5, 1.7)}))
    for (method, top1), seed in product((("catlip", longer), ("clip", 0.3)), range(6)):
        one = {"encoder": "tiny", "images": 3_000, "images_seen": 3_000.0, "seed": seed}
        write_study("scaling", method, {"concepts": top1 + 0.01 * seed}, scale="photos", **one)
    by_scale = {setting.scale: setting for setting in settings(records_in(tmp_path))}
    main, other = by_scale["starter"], by_scale["photos"]
    assert [(one.word, one.images) for one in compared_tasks(other)] == [
        (WORSE if turns else BETTER, 3_000)
    ]
    both = [after_epochs(other, found) for found in longer_and_shorter(other)]
    assert both == [f"{signed(100 * (longer - 0.3), 1)} after 30 epochs", "+20.0 after 10 epochs"]
    turned = "Use CLIP for text prompts and long training on captioned images at photos scale."
    assert (turned in advice(main, [other])) == turns
    assert ("+20.0 after 10 epochs" in elsewhere([main, other])) == turns


def test_answer_is_of_ones_own_encoder_and_each_length_is_said(
    write_training, write_probes, write_study, read_setting
):
    """A study of another encoder does not answer, nor does a longer one without an interval."""
    for method, level in (("catlip", 0.5), ("clip", 0.4)):
        for seed in range(6):
            write_training(method, seed, scale="mine", encoder="tiny", more={"epochs_seen": 10.0})
        tasks = {task: [level + 0.01 * seed for seed in range(6)] for task in ("one", "two")}
        write_probes(method, tasks, scale="mine")
    lengths = {"tiny": {3_000: (range(6), "one"), 9_000: (range(2), "two")}}
    lengths["large"] = {images: (range(6), "one") for images in range(5_000, 10_000, 1_000)}
    for encoder, of_encoder in lengths.items():
        for images, (seeds, task) in of_encoder.items():
            for method, seed in product(("catlip", "clip"), seeds):
                one = {"encoder": encoder, "images": images, "images_seen": images, "seed": seed}
                top1 = 0.5 - 0.2 * (method == "catlip") + 0.01 * seed
                write_study("scaling", method, {task: top1}, scale="mine", **one)
    setting = read_setting()
    found = [(one.task, one.images, one.word) for one in compared_tasks(setting)]
    assert found == [("one", 3_000, WORSE), ("two", 1_000, BETTER)]
    first, second = as_good(setting).sentences[:2]
    assert "on one; 6 seeds, 30 epochs" in first
    assert "on two; 6 seeds" in second
    assert after_epochs(setting, compared_tasks(setting)) == (
        "\N{MINUS SIGN}20.0 after 30 epochs, +10.0 after 10 epochs"
    )


def test_study_alone_has_an_answer(write_study, tmp_path, capsys):
    one = {"encoder": "hybrid_mini", "fraction": 1.0, "images": 800, "flops": 1e9}
    for method, top1 in (("catlip", 0.4), ("clip", 0.3)):
        for seed in range(2):
            cell = one | {"seed": seed, "final_loss": 1.0}
            write_study("scaling", method, {"pets": top1}, scale="photos", **cell)
    write_page(Report((tmp_path,), out=tmp_path / "page"))
    printed = capsys.readouterr().out
    assert "CatLIP is ahead by 10.0 points in both seeds" in printed
    assert "recorded" not in printed
    assert "No training or probe" not in (tmp_path / "page/report.md").read_text()
