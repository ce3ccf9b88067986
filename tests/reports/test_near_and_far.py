"""Every probe of the compared encoders counts, and stands by the data that they were trained on."""

from collections.abc import Callable
from itertools import product

import pytest
from report_support import records_in

from reports.read.setting import settings
from reports.readme import answer
from reports.summary.answers import as_good
from reports.summary.near_and_far import near_and_far


@pytest.fixture
def probes(write_probe, write_training) -> Callable[..., None]:
    """Write six encoders of both methods, and their probes: task -> CatLIP's lead, in points."""

    def write(scale: str, leads: dict[str, float], known: int = 1) -> None:
        origin = {"similarity": None, "synsets": [], "similarities": [], "classes": []}
        rows = [{"label": kind, "kind": kind} | origin for kind in ["exact"] * known + ["near"]]
        for seed, method in product(range(6), ("catlip", "clip")):
            write_training(method, seed, scale=scale)
            for i, (task, lead) in enumerate(leads.items()):
                ahead = lead / 100 if method == "catlip" else 0
                write_probe(
                    method,
                    seed,
                    {task: 0.5 + ahead + seed / 1000},
                    name=f"{method}-seed{seed}" + f"-{task}" * (i > 0),
                    scale=scale,
                    samples={f"origins_{task}": rows} if method == "catlip" else {},
                )

    return write


def test_probe_that_says_otherwise_is_in_the_first_answer(probes, tmp_path):
    probes("mine", {"own": 5, "concepts": 2, "far": -3})
    (setting,) = settings(records_in(tmp_path))
    assert setting.tasks == ["own", "far", "concepts"]  # the user's, before what is added to them
    answer = as_good(setting).short
    assert answer == "It depends on the task: better on own and concepts; worse on far."


def test_tasks_stand_by_data_and_by_how_many_labels_are_classes(probes, tmp_path):
    probes("mine", {"own": 5, "far": -3})
    probes("starter", {"concepts": 8}, known=3)
    (figure,) = near_and_far(settings(records_in(tmp_path)))
    for words in ("own (1 of 2) +5.0", "far (1 of 2) \N{MINUS SIGN}3.0", "concepts (3 of 4) +8.0"):
        assert words in figure.alt
    assert figure.caption.startswith("CatLIP minus CLIP with a transformer")
    headings = [row.name for row in figure.draw.keywords["rows"] if not row.of_task]
    first = [
        "100 captioned images in folder mine,",
        "10\N{NO-BREAK SPACE}epochs",
    ]  # what fits in a line
    assert headings[:2] == first


def test_what_turns_with_length_on_other_data_is_in_the_answers(probes, write_study, tmp_path):
    probes("mine", {"garden": 2})
    probes("starter", {"concepts": 8})
    for method, seed in product(("catlip", "clip"), range(6)):
        top1 = {"concepts": 0.5 + seed / 1000 - 0.04 * (method == "catlip")}
        more = {"images": 9_000, "images_seen": 9_000, "seed": seed}
        write_study("scaling", method, top1, **more)
    records = records_in(tmp_path)
    main, *others = settings(records)
    assert "on drawings \N{MINUS SIGN}4.0 to +8.0" in as_good(main, others).short
    lines = answer(records)
    assert any("100 drawings, 90 epochs | 10 concepts" in line for line in lines)
    assert "on drawings +8.0 after 10 epochs" in " ".join(lines)
