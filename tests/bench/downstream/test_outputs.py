"""Each encoder and data set has a record of its own, and none is replaced by that of another
run.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_data import write_folders

from bench.downstream import finetune, linear_probe, longer_training, readouts, transfer_options
from bench.downstream.outputs import data_name, encoder_name, filled_in, is_written
from catlip.cli import InputError

ONE, OTHER = "random:hybrid_mini@32", "random:vit_tiny16@32"
QUIET: dict[str, Any] = {"num_workers": 0, "device": "cpu", "quiet": True}


def probe(recipe: Any, encoder: str, data: str, **options: Any) -> None:
    linear_probe.main(
        linear_probe.LinearProbe(recipe, encoder, data, cached_features=True, **QUIET | options)
    )


def tune(recipe: Any, encoder: str, data: str, **options: Any) -> None:
    finetune.main(finetune.Finetune(recipe, encoder, data, **QUIET | options))


def read_out(recipe: Any, encoder: str, data: str, **options: Any) -> None:
    changed = {"neighbours": recipe.micro_batch} | QUIET | options
    readouts.main(readouts.Readouts(encoder, data, **changed))


@pytest.mark.parametrize(
    ("start", "kind"), [(probe, "linear_probe"), (tune, "finetune"), (read_out, "readout")]
)
def test_two_encoders_have_two_records_and_another_config_is_refused(
    start: Callable[..., None], kind: str, cats_and_dogs, tiny_recipe, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = replace(tiny_recipe, iterations=2)
    for encoder in (ONE, OTHER):
        start(few, encoder, cats_and_dogs)
    paths = sorted(Path("runs/bench").glob("*/*.json"))
    records = [json.loads(path.read_text()) for path in paths]
    assert [record["kind"] for record in records] == [kind, kind]
    assert {record["config"]["encoder"] for record in records} == {ONE, OTHER}
    assert all(
        record["config"]["out"] == str(path) for record, path in zip(records, paths, strict=True)
    )

    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}
    start(few, ONE, cats_and_dogs, num_workers=1)  # the same run: its record is kept
    with pytest.raises(InputError, match=r"micro_batch|neighbours"):
        start(replace(few, micro_batch=3), ONE, cats_and_dogs)
    with pytest.raises(InputError, match=r"encoder_digest .* there"):
        start(
            few,
            ONE,
            cats_and_dogs,
            seed=5,
            out=next(path for path in paths if "hybrid" in path.name),
        )
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths} == before
    assert not list(Path("runs").rglob("*.partial"))


def test_other_data_has_another_record(cats_and_dogs, tiny_recipe, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for data in (cats_and_dogs, write_folders(tmp_path / "pets", ("cat", "dog"))):
        probe(tiny_recipe, ONE, data)
    assert len(list(Path("runs/bench/linear_probe").glob("*.json"))) == 2


def test_programs_of_several_encoders_keep_theirs_too(
    trained, starter, tiny_recipe, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = f"starter:{starter.root}"
    for run in trained.values():
        longer_training.main(longer_training.LongerTraining(tiny_recipe, (run,), data, **QUIET))
    assert len(list(Path("runs/bench/longer_training").glob("*.json"))) == 2
    options = transfer_options.Options(
        tiny_recipe, (str(trained["catlip"]),), data, seeds=1, **QUIET
    )
    transfer_options.main(options)
    assert "catlip" in options.out.name
    with pytest.raises(InputError, match="seeds 1 there, 2 now"):
        transfer_options.main(replace(options, seeds=2))


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("runs/starter/pretrain/catlip-seed0", "starter-catlip-seed0"),
        ("runs/cc3m/pretrain/catlip-seed0:raw", "cc3m-catlip-seed0-raw"),
        ("/data/vit_b16.safetensors", "data-vit_b16"),
        ("timm:vit_base_patch16_224.augreg_in21k", "timm-vit_base_patch16_224.augreg_in21k"),
        ("released:vit_b16@512", "released-vit_b16@512"),
        ("openclip:ViT-B-16/datacomp_xl_s13b_b90k", "openclip-ViT-B-16-datacomp_xl_s13b_b90k"),
    ],
)
def test_an_encoder_is_named_by_its_spelling(spelling: str, name: str) -> None:
    assert encoder_name(spelling) == name


def test_a_data_set_is_named_by_its_kind_and_its_folder() -> None:
    names = map(
        data_name,
        (
            "imagenet:/data/imagenet",
            "starter:data/starter",
            "folder:/data/pets/",
            "coco:data/starter-scenes/coco",
        ),
    )
    assert list(names) == ["imagenet", "starter", "folder-pets", "coco"]


def test_a_name_that_the_user_gave_stays() -> None:
    assert filled_in(
        Path("runs/{encoder}/mine.json"), "imagenet:x", "random:a@48", "random:b@48"
    ) == Path("runs/random-a@48-and-1-more/mine.json")
    assert filled_in(Path("mine.json"), "imagenet:x", ONE) == Path("mine.json")


def test_a_file_that_is_no_record_is_not_replaced(tmp_path) -> None:
    (tmp_path / "notes.json").write_text("[]")
    with pytest.raises(InputError, match=r"notes\.json"):
        is_written(tmp_path / "notes.json", {}, "digest")
