"""The sections on what an encoder is worth: the right numbers, and sentences that say no more than
the pairs do.
"""

import importlib.util
import itertools
import json
import math
import re
import shlex
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hostile_content import ATTACK, mutilated, poisoned, with_leaves
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from matplotlib.figure import Figure as Canvas
from report_support import table

from catlip.kinds import LinearProbe, LongerTraining
from catlip.method_style import ordered
from catlip.table import MISSING, as_csv
from reports.read.measured import settings
from reports.read.records import Record, read_records
from reports.render.blocks import Command, Text
from reports.render.figures import render
from reports.render.page import markdown, write_report
from reports.sections import Page, build_page
from reports.summary.answers import as_good
from reports.transfer import dense, transfer
from reports.transfer.few_labels import lines_of as share_lines
from reports.transfer.longer_training import lines_of as longer_lines
from reports.transfer.longer_training import snapshots_of
from reports.transfer.transfer_gain import gains_of, verdict
from reports.transfer.transfer_lines import means_of
from reports.transfer.transfer_origins import origin_sentences
from reports.transfer.transfer_runs import runs_of

ANCHORS = ("worth", "dense", "few-labels", "transfer-init", "longer-training")
MINUS = "\N{MINUS SIGN}"
TASKS = {"concepts": (4, 20), "subgroups": (2, 40)}  # classes, training images
CEILING = "timm:efficientnet_lite0"


def row(
    task: str, fraction: float, init: str, seed: int, top1: float, images: int
) -> dict[str, Any]:
    return {
        "task": task,
        "fraction": fraction,
        "init": init,
        "seed": seed,
        "top1": top1,
        "top5": min(1.0, 2 * top1),
        "num_train": images,
        "seconds": 1.0,
    }


def sizes() -> dict[str, int]:
    found = {}
    for task, (classes, images) in TASKS.items():
        found |= {
            f"{task}_num_classes": classes,
            f"{task}_num_train": images,
            f"{task}_num_test": 10,
        }
    return found


def origin(label: str, kind: str, *parts: tuple[str, float, list[str]]) -> dict[str, Any]:
    found = [similarity for _, similarity, classes in parts if classes]
    return {
        "label": label,
        "kind": kind,
        "similarity": sum(found) / len(found) if found else None,
        "synsets": [synset for synset, _, _ in parts],
        "similarities": [similarity for _, similarity, _ in parts],
        "classes": [classes for _, _, classes in parts],
    }


ORIGINS = [
    origin("dog", "exact", ("dog.n.01", 1.0, ["dog.n.01"])),
    origin("puppy", "near", ("puppy.n.01", 0.5, ["dog.n.01"])),
    origin(
        "restaurant kitchen",
        "mean",
        ("restaurant.n.01", 1.0, ["restaurant.n.01"]),
        ("kitchen.n.01", 0.2, []),
    ),
    origin("quark", "random", ("quark.n.01", 0.1, [])),
]


def probe(
    method: str, seed: int | None, base: float, gain: float = 0.0, **config: Any
) -> dict[str, Any]:
    """A record's parts: accuracies of `base` points per hundred, a point more for each classifier
    seed, half with 10 %.
    """
    inits = {"random": 0.0} | ({"transfer": gain} if gain else {})
    rows = [
        row(task, fraction, init, k, (base * part + k + more) / 100, images)
        for task, (_, whole) in TASKS.items()
        for fraction, part, images in ((0.1, 0.5, whole // 10), (1.0, 1.0, whole))
        for init, more in inits.items()
        for k in (0, 1)
    ]
    metrics = {"method": method, "pretrain_seed": seed, **sizes()}
    for task in TASKS:
        metrics[f"{task}_top1"] = (base + 0.5) / 100
        metrics[f"{task}_top5"] = min(1.0, 2 * (base + 0.5) / 100)
    samples = {"runs": rows} | ({f"origins_{task}": ORIGINS for task in TASKS} if gain else {})
    return {"metrics": metrics, "samples": samples, "config": {"recipe": {"epochs": 30}} | config}


def longer(method: str, seed: int, base: float, seconds: float = 10.0) -> dict[str, Any]:
    rows = [
        {
            "task": "concepts",
            "epochs": float(epochs),
            "images_seen": 100 * epochs,
            "seconds": seconds * epochs,
            "annealed": epochs == 40,
            "top1": (base + epochs / 10) / 100,
            "top5": 0.5,
            "seed": 0,
        }
        for epochs in (10, 20, 40)
    ]
    return {
        "metrics": {"method": method, "pretrain_seed": seed, **sizes()},
        "samples": {"runs": rows},
    }


@pytest.fixture
def contents() -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, name) -> the parts of a record."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    transfer_options = {
        "transfer": {"alpha": 0.3, "ties": "frequent", "bias": "zero", "scale": "as_is"}
    }
    for seed in (0, 1):
        name = f"seed{seed}"
        found["linear_probe", f"catlip-{name}"] = probe(
            "catlip", seed, 30 + 2 * seed, 3, **transfer_options, cached_features=True
        )
        found["linear_probe", f"clip-{name}"] = probe("clip", seed, 28, cached_features=True)
        found["finetune", f"catlip-{name}"] = probe("catlip", seed, 40, 1)
        for method, how in (("catlip", "classifier rows"), ("clip", "prompts")):
            metrics = {"method": method, "pretrain_seed": seed, "zero_shot": how, **sizes()}
            metrics |= {"concepts_knn_top1": 0.2 + 0.02 * seed, "concepts_knn_top5": 0.4}
            metrics |= {"concepts_zero_shot_top1": 0.1, "concepts_zero_shot_top5": 0.3}
            found["readout", f"{method}-{name}"] = {"metrics": metrics}
            found["longer_training", f"{method}-{name}"] = longer(
                method, seed, 5, 10 if method == "catlip" else 20
            )
    found["linear_probe", "random-seed0"] = probe("random", 0, 5, cached_features=True)
    found["linear_probe", "timm"] = probe(CEILING, None, 80, cached_features=True)
    metrics = {"method": CEILING, "pretrain_seed": None, "concepts_knn_top1": 0.7}
    found["readout", "timm"] = {"metrics": metrics}
    return found


@pytest.fixture
def read(write_record, tmp_path, contents):
    """The page of these records, some of them with other parts."""

    def build(changed: dict[tuple[str, str], Any] | None = None) -> Page:
        for (kind, name), parts in (contents | (changed or {})).items():
            write_record(kind, name, **parts)
        return build_page(read_records([tmp_path / "runs"]))

    return build


@pytest.fixture
def record(write_record, tmp_path):
    """One record of these parts."""

    def written(kind: str, name: str = "catlip-seed0", **parts: Any) -> Record:
        path = write_record(kind, name, **parts)
        return next(
            found for found in read_records([tmp_path / "runs"]).every if found.path == str(path)
        )

    return written


def figure(page: Page, name: str):
    (found,) = [figure for figure in page.figures if figure.name == name]
    return found


def section_text(page: Page, anchor: str) -> str:
    (section,) = [section for section in page.sections if section.anchor == anchor]
    return "\n".join(block.words for block in section.blocks if isinstance(block, Text))


def test_what_an_encoder_is_worth_is_an_appendix(read):
    (appendix,) = [one for one in read().appendices if one.anchor == "transfer"]
    assert tuple(section.anchor for section in appendix.sections[: len(ANCHORS)]) == ANCHORS


def test_table_1s_form_has_probes_and_fine_tuning_of_each_method(read):
    found = table(read(), "worth")
    assert list(found.columns)[1:] == [
        "4 concepts, LP (%)",
        "4 concepts, FT (%)",
        "2 subgroups, LP (%)",
        "2 subgroups, FT (%)",
    ]
    rows = {line[0].text: [(cell.text, cell.small) for cell in line[1:3]] for line in found.rows}
    assert rows["CatLIP"] == [("31.5 ± 1.4", "n = 2"), ("40.5 ± 0.0", "n = 2")]
    assert rows["CLIP"] == [("28.5 ± 0.0", "n = 2"), (MISSING, "")]
    assert rows[CEILING] == [("80.5", "n = 1"), (MISSING, "")]
    assert "Guessing gives 25.0 % on 4 concepts and 50.0 % on 2 subgroups." in found.caption
    assert "starter scale" in found.title
    assert [cell.anchor.rpartition("starter-")[2] for cell in found.rows[1][1:3]] == [
        "linear_probe-catlip",
        "finetune-catlip",
    ]


def test_encoders_that_others_trained_stand_last_as_ceilings_and_nowhere_else(read, tmp_path):
    page = read()
    names = [line[0].text for line in table(page, "worth").rows]
    assert names[:3] == ["Random init", "CatLIP", "CLIP"]
    assert names[3].startswith("Sanity ceilings")
    assert names[4:] == [CEILING]
    assert [line[0].text for line in page.headline.rows] == ["Random init", "CatLIP", "CLIP"]
    assert not any(CEILING in drawn.alt for drawn in page.figures)
    (setting,) = settings(read_records([tmp_path / "runs"]))
    assert CEILING not in str(as_good(setting))


def test_released_and_other_untrained_encoders_come_after_ours():
    methods = [
        "released:vit_b16",
        "zebra",
        "timm:a",
        "clip",
        "random:timm/b",
        "catlip:raw",
        "random",
    ]
    assert ordered(methods) == [
        "random",
        "clip",
        "catlip:raw",
        "zebra",
        "random:timm/b",
        "released:vit_b16",
        "timm:a",
    ]


def test_a_page_with_nothing_but_other_peoples_encoders_is_written(write_record, tmp_path):
    for method in (CEILING, "openclip:ViT-B-16/openai", "released:vit_b16"):
        write_record("linear_probe", re.sub(r"\W", "-", method), **probe(method, None, 50))
    page = build_page(read_records([tmp_path / "runs"]))
    assert page.headline is None
    assert [line[0].text for line in table(page, "worth").rows][:2] == [
        "Not trained here",
        "released:vit_b16",
    ]
    assert "released:vit\\_b16" in markdown(page)
    assert "released:vit_b16" in figure(page, "linear_probe_by_share_1").alt
    write_report(page, tmp_path / "report")


def test_probes_with_other_recipes_are_warned_of(read, contents):
    assert "Beware" not in table(read(), "worth").caption
    changed = {
        ("linear_probe", "clip-seed0"): contents["linear_probe", "clip-seed0"]
        | {"config": {"recipe": {"epochs": 90}}}
    }
    caption = table(read(changed), "worth").caption
    assert "the linear probes here do not all have the same recipe" in caption
    assert "(Table 7(a)) augment" not in caption


def test_readouts_stand_beside_the_linear_probe_and_say_how_zero_shot_was_done(read):
    found = table(read(), "readouts")
    assert [title.partition(": ")[2] for title in found.columns[1:]] == [
        "zero-shot (%)",
        "nearest neighbours (%)",
        "linear probe (%)",
    ]
    rows = {line[0].text: [(cell.text, cell.small) for cell in line[1:]] for line in found.rows}
    assert rows["CatLIP"] == [
        ("10.0 ± 0.0", "by classifier rows, top-5 30.0, n = 2"),
        ("21.0 ± 1.4", "top-5 40.0, n = 2"),
        ("31.5 ± 1.4", "top-5 63.0, n = 2"),
    ]
    assert rows["CLIP"][0][1].startswith("by prompts")
    assert rows[CEILING] == [
        (MISSING, ""),
        ("70.0", "n = 1"),
        ("80.5", "top-5 100.0, n = 1"),
    ]


def test_a_line_is_the_mean_over_encoders_and_every_classifier_a_mark(read, tmp_path):
    page = read()
    records = [r for r in read_records([tmp_path / "runs"]).of(LinearProbe) if r.method != CEILING]
    runs = [run for r in records for run in runs_of(r) if run.task == "concepts"]
    lines = {(line.name, line.how): line for line in share_lines(runs)}
    assert list(lines) == [
        ("Random init", ""),
        ("CatLIP", "random head"),
        ("CatLIP", "Transfer Init"),
        ("CLIP", ""),
    ]
    assert lines["CatLIP", "random head"].points == [
        (10, pytest.approx(16)),
        (100, pytest.approx(31.5)),
    ]
    assert lines["CatLIP", "Transfer Init"].points == [
        (10, pytest.approx(19)),
        (100, pytest.approx(34.5)),
    ]
    assert sorted(y for x, y in lines["CatLIP", "random head"].marks if x == 100) == pytest.approx(
        [30, 31, 32, 33]
    )
    drawn = figure(page, "linear_probe_by_share_1")
    assert "CatLIP, Transfer Init: 19.0 % at 10 %, 34.5 % at 100 %" in drawn.alt
    for words in (
        "4 concepts",
        "starter scale",
        "1 to 2 encoders",
        "2 classifiers each",
        "30 epochs",
    ):
        assert words in drawn.caption


def test_a_figure_names_every_line_and_the_images_below_their_share(read):
    axes = Canvas().add_subplot()
    figure(read(), "linear_probe_by_share_1").draw(axes)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["10\n2", "100\n20"]
    assert {text.get_text() for text in axes.texts} == {
        "Random init\n5.5 %",
        "CatLIP\nrandom head 31.5 %",
        "CatLIP\nTransfer Init 34.5 %",
        "CLIP\n28.5 %",
    }


def test_shares_that_hold_the_same_images_count_once_and_as_what_they_are(record):
    """With two images a class, 5 % and 10 % are both one of each."""
    rows = [
        row("concepts", f, i, 0, 0.3, n)
        for f, n in ((0.05, 10), (0.1, 10), (1, 20))
        for i in ("random", "transfer")
    ]
    found = record("linear_probe", metrics={"method": "catlip", **sizes()}, samples={"runs": rows})
    assert sorted((run.fraction, run.init) for run in runs_of(found)) == [
        (50, "random"),
        (50, "transfer"),
        (100, "random"),
        (100, "transfer"),
    ]
    assert [gain.fraction for gain in gains_of([found], "linear_probe")] == [50, 100]


def test_small_shares_that_hold_more_than_they_say_are_pointed_out(read, contents):
    page = read()
    assert "at least one image" not in figure(page, "linear_probe_by_share_1").caption
    content = contents["linear_probe", "clip-seed0"]
    for run in content["samples"]["runs"]:
        run["num_train"] = max(run["num_train"], 4)
    assert "at least one image" in figure(read(), "linear_probe_by_share_1").caption


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([1, 2, 0.5, 1], "it gains with each of 2 encoders (+1.1 points on average)"),
        (
            [1, -2, 0.5, 0],
            f"the encoders disagree: it gains with 1 of 2 ({MINUS}0.1 points on average)",
        ),
        (
            [-1, 0, -0.5, -1],
            f"it does not gain with any of 2 encoders ({MINUS}0.6 points on average)",
        ),
    ],
)
def test_the_sentence_on_transfer_init_says_what_the_pairs_with_the_fewest_images_say(
    write_record, tmp_path, gains, words
):
    for encoder in (0, 1):
        rows = [
            row("concepts", 1.0, init, 0, top1, 20)
            for init, top1 in (("random", 0.5), ("transfer", 0.1))
        ]
        for k, gain in enumerate(gains[2 * encoder : 2 * encoder + 2]):
            rows.append(row("concepts", 0.1, "random", k, 0.3, 2))
            rows.append(row("concepts", 0.1, "transfer", k, 0.3 + gain / 100, 2))
        metrics = {"method": "catlip", "pretrain_seed": encoder, **sizes()}
        write_record(
            "linear_probe", f"catlip-seed{encoder}", metrics=metrics, samples={"runs": rows}
        )
    page = build_page(read_records([tmp_path / "runs"]))
    start = (
        "Linear probe with the fewest images, Transfer Init against a random start: on concepts (2 "
        "images, 10 % of the data) "
    )
    assert f"{start}{words}." in section_text(page, "transfer-init")


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([2.0], "too few to tell"),
        ([0.0], "does not gain"),
        ([1.0, math.nan], "an accuracy is NaN"),
        ([0.0, 0.0], "not gain with any"),
    ],
)
def test_one_pair_or_a_nan_decides_nothing(points, words):
    assert words in verdict(points)


def test_a_pair_differs_in_its_start_alone(record):
    rows = [
        row("concepts", 0.1, "random", 0, 0.3, 2),
        row("concepts", 0.1, "transfer", 1, 0.4, 2),  # another seed
        row("concepts", 1.0, "transfer", 0, 0.5, 20),  # other images
        row("subgroups", 0.1, "transfer", 0, 0.6, 4),  # another task
    ]
    found = record("linear_probe", metrics={"method": "catlip", **sizes()}, samples={"runs": rows})
    assert gains_of([found], "linear_probe") == []
    assert gains_of([found], "finetune") == []


def test_the_gain_is_a_mean_over_pairs_with_how_many_gained(read):
    found = table(read(), "transfer_gain")
    assert [line[0].text for line in found.rows] == [
        "CatLIP, 4 concepts",
        "10 %",
        "100 %",
        "CatLIP, 2 subgroups",
        "10 %",
        "100 %",
    ]
    ten = found.rows[1]
    assert ten[0].small == "2 images"
    assert [(cell.text, cell.small) for cell in ten[1:]] == [
        ("3.00 ± 0.00", "n = 2"),
        ("2 of 2", ""),
        ("1.00 ± 0.00", "n = 2"),
        ("2 of 2", ""),
    ]
    assert ten[1].anchor.endswith("starter-linear_probe-catlip")


def test_an_encoder_without_transfer_init_has_no_gain(read):
    assert "\nCLIP" not in as_csv(table(read(), "transfer_gain"))


def test_where_rows_come_from_is_counted(tmp_path, read):
    read()
    (said,) = origin_sentences(read_records([tmp_path / "runs"]).of(LinearProbe))
    counts = re.search("Of 4 concepts: ([^.]*; mean similarity 0.83)", said)[1]
    assert re.findall(r" (\d)\b(?!\.)", counts) == ["1", "1", "1", "1"]
    assert said.endswith(
        "from 0.30 on. Of equally near classes, the most frequent is used; biases start at zero; "
        "rows keep their length."
    )


def test_snapshots_are_hollow_and_the_page_says_what_they_understate(read, tmp_path):
    page = read()
    records = read_records([tmp_path / "runs"]).of(LongerTraining)
    snapshots = [snapshot for found in records for snapshot in snapshots_of(found)]
    catlip, clip = longer_lines(snapshots)
    assert catlip.points == [(10, pytest.approx(6)), (20, pytest.approx(7)), (40, pytest.approx(9))]
    assert ([x for x, _ in catlip.marks], sorted(x for x, _ in catlip.hollow)) == (
        [40, 40],
        [10, 10, 20, 20],
    )
    caption = figure(page, "longer_epochs_1").caption
    for words in (
        "Hollow marks are snapshots",
        "before its learning rate had reached",
        "The paper trains once",
    ):
        assert words in caption
    assert clip.name == "CLIP"


def test_trainings_to_their_end_are_not_called_snapshots(write_record, tmp_path):
    content = longer("catlip", 0, 5)
    for run in content["samples"]["runs"]:
        run["annealed"] = True
    write_record("longer_training", "catlip-seed0", **content)
    assert (
        "Hollow"
        not in figure(build_page(read_records([tmp_path / "runs"])), "longer_epochs_1").caption
    )


def test_runs_trained_to_several_lengths_make_the_line_as_in_the_paper(record):
    parts = longer("catlip", 0, 5)
    rows = [run | {"run": "long"} for run in parts["samples"]["runs"]]
    rows += [rows[1] | {"run": "short", "annealed": True, "top1": 0.12, "seconds": 190.0}]
    snapshots = snapshots_of(
        record("longer_training", metrics=parts["metrics"], samples={"runs": rows})
    )
    (line,) = longer_lines(snapshots)
    assert line.points == [(20, pytest.approx(12)), (40, pytest.approx(9))]
    assert sorted(line.hollow) == [(10, pytest.approx(6)), (20, pytest.approx(7))]


def test_numbers_of_two_scales_never_share_a_table_or_a_figure(write_record, tmp_path):
    write_record("linear_probe", "catlip-seed0", **probe("catlip", 0, 30, 3))
    write_record("linear_probe", "clip-seed0", scale="cc3m", **probe("clip", 0, 50))
    page = build_page(read_records([tmp_path / "runs"]))
    for name, method, scale in (("worth", "CatLIP", "starter"), ("worth_2", "CLIP", "cc3m")):
        found = table(page, name)
        assert [line[0].text for line in found.rows] == [method]
        assert f"{scale} scale" in found.title
    assert "CLIP:" not in figure(page, "linear_probe_by_share_1").alt.replace("CatLIP", "")
    assert "cc3m scale" in figure(page, "linear_probe_by_share_1_2").caption


def test_numbers_of_two_roots_never_share_a_table(write_record, tmp_path):
    write_record("linear_probe", "catlip-seed0", **probe("catlip", 0, 30))
    write_record("finetune", "clip-seed0", root="brought", **probe("clip", 0, 50))
    page = build_page(read_records([tmp_path / "runs", tmp_path / "brought"]))
    assert [line[0].text for line in table(page, "worth").rows] == ["CatLIP"]


def test_a_starter_number_never_stands_in_the_papers_tables(read):
    for name in ("table_1", "table_2"):
        assert {line[-1].text for line in table(read(), name).rows if len(line) > 1} <= {
            "not run",
            "",
        }


def test_a_nan_is_shown_as_one_and_what_is_missing_is_left_out(write_record, tmp_path):
    content = probe("catlip", 0, 30, 3)
    content["metrics"]["concepts_top1"] = math.nan
    del content["metrics"]["subgroups_top1"]
    runs = [run for run in content["samples"]["runs"] if run["task"] == "concepts"]
    content["samples"]["runs"] = runs
    for run in runs:
        if run["init"] == "transfer":
            run["top1"] = math.nan
    write_record("linear_probe", "catlip-seed0", **content)
    page = build_page(read_records([tmp_path / "runs"]))
    assert [[cell.text for cell in line] for line in table(page, "worth").rows] == [
        ["CatLIP", "NaN"]
    ]
    gains = table(page, "transfer_gain")
    assert [line[1].text for line in gains.rows if len(line) > 1] == ["NaN", "NaN"]
    assert "an accuracy is NaN" in section_text(page, "transfer-init")
    assert not any("subgroups" in drawn.alt for drawn in page.figures if "by_share" in drawn.name)
    assert "Transfer Init" not in figure(page, "linear_probe_by_share_1").alt


def test_what_was_not_run_says_with_which_command_it_is():
    sections = transfer.transfer_sections(None, read_records([]))
    lines = [
        block.line for section in sections for block in section.blocks if isinstance(block, Command)
    ]
    assert lines == [
        transfer.PROBE,
        transfer.FINETUNE,
        transfer.READOUT,
        dense.FULL,
        transfer.PROBE,
        transfer.FINETUNE,
        transfer.PROBE,
        transfer.LONGER,
        transfer.SCALING,
        transfer.ROBUSTNESS,
        transfer.TUNING,
    ]
    assert all(
        isinstance(section.blocks[0], Text) and len(section.blocks[0].words) > 120
        for section in sections
    )


@pytest.mark.parametrize(
    "line", [transfer.PROBE, transfer.FINETUNE, transfer.READOUT, transfer.LONGER]
)
def test_the_commands_are_of_programs_that_exist_and_know_their_flags(line):
    module, *arguments = shlex.split(line)[2:]
    found = importlib.util.find_spec(module)
    assert found, f"{line}: there is no such program"
    text = "\n".join(path.read_text() for path in Path(found.origin).parent.glob("*.py"))
    for flag in (argument for argument in arguments if argument.startswith("--")):
        assert f"    {flag[2:].replace('-', '_')}: " in text, (line, flag)


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32))
def test_whatever_records_of_transfer_lack_a_page_is_written(
    write_record, tmp_path, contents, seed
):
    """Keys are dropped and values replaced; one page in four is also drawn."""
    random = Random(seed)
    for (kind, name), parts in contents.items():
        broken = {key: mutilated(value, random) for key, value in parts.items()}
        write_record(
            kind,
            name,
            **{key: value if isinstance(value, dict) else {} for key, value in broken.items()},
        )
    page = build_page(read_records([tmp_path / "runs"]))
    assert markdown(page)
    assert all(as_csv(found) for found in page.tables)
    for drawn in page.figures if seed % 4 == 0 else ():
        render(drawn)


@pytest.mark.parametrize("strange", [math.nan, 0, 1, 10**400, "12", None])
@pytest.mark.parametrize("part", ["metrics", "samples", "config"])
def test_records_of_strange_values_give_a_page(write_record, tmp_path, contents, part, strange):
    for (kind, name), parts in contents.items():
        write_record(
            kind,
            name,
            **parts | ({part: with_leaves(parts[part], strange)} if part in parts else {}),
        )
    page = build_page(read_records([tmp_path / "runs"]))
    assert markdown(page)
    for drawn in page.figures:
        render(drawn)


@pytest.mark.parametrize(
    ("kind", "spoiled"),
    [
        (kind, {key: strange})
        for kind, key in (
            ("linear_probe", "top1"),
            ("linear_probe", "fraction"),
            ("finetune", "num_train"),
            ("longer_training", "epochs"),
            ("longer_training", "seconds"),
        )
        for strange in ("12", -1, [[]], 10**400)
    ],
)
def test_a_record_with_a_spoiled_row_is_left_out_with_its_reason(
    write_record, tmp_path, contents, kind, spoiled
):
    parts = contents[kind, "catlip-seed0"]
    parts["samples"]["runs"][0] |= spoiled
    write_record(kind, "catlip-seed0", **parts)
    records = read_records([tmp_path / "runs"])
    assert records.every == ()
    assert records.problems[0].reason.startswith(f"not of kind {kind}: ")


def test_no_word_of_a_record_becomes_part_of_the_page(write_record, tmp_path, contents):
    attack = json.dumps(ATTACK)[1:-1]
    for (kind, name), parts in contents.items():
        clean = poisoned(parts) | {
            "metrics": parts["metrics"] | {"method": f"{parts['metrics']['method']} {ATTACK}"}
        }
        for run in clean.get("samples", {}).get("runs", ()):
            run |= {
                key: value.partition(" ")[0]
                for key, value in run.items()
                if isinstance(value, str) and key != "task"
            }
        origins = [rows for sample, rows in clean.get("samples", {}).items() if sample != "runs"]
        for row in itertools.chain(*origins):
            row["kind"] = row["kind"].partition(" ")[0]
        words = (
            json.dumps(clean)
            .replace('"subgroups_', f'"sub {attack}_')
            .replace('"origins_sub', f'"origins_{attack}')
        )
        write_record(kind, name, scale="<b>scale", **json.loads(words))
    page = build_page(read_records([tmp_path / "runs"]))
    path = write_report(page, tmp_path / "report")
    html, text = path.read_text(), (tmp_path / "report/report.md").read_text()
    assert "<script>alert" not in html.replace("<!-- <script>alert", "")
    assert "&lt;script&gt;alert(1)" in html
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert not re.search("[\u202e\x00]", text)
    names = [drawn.name for drawn in page.figures] + [found.name for found in page.tables]
    assert (
        sum(
            name.startswith(("worth", "readouts", "transfer_gain", "linear_probe", "longer"))
            for name in names
        )
        > 5
    )
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)


def test_a_mean_has_an_interval_from_six_groups_on():
    def interval(groups):
        ((_, mean),) = means_of([(1.0, str(i), 10.0 + i) for i in range(groups)])
        return mean.low is not None

    assert [interval(groups) for groups in (1, 5, 6)] == [False, False, True]
