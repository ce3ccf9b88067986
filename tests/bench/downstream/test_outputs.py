"""Each encoder and data set has a record of its own, and none is replaced by that of another
run.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_data import ON_A_CPU, write_folders

from bench.downstream import finetune, linear_probe, readouts, transfer_options
from bench.downstream.outputs import data_name, encoder_name, filled_in, is_written
from catlip.cli import InputError

ONE, OTHER = "random:hybrid_mini@32", "random:vit_tiny16@32"


def probe(recipe: Any, encoder: str, data: str, **options: Any) -> None:
    changed = ON_A_CPU | {"cached_features": True} | options
    linear_probe.main(linear_probe.LinearProbe(recipe, encoder, data, **changed))


def tune(recipe: Any, encoder: str, data: str, **options: Any) -> None:
    finetune.main(finetune.Finetune(recipe, encoder, data, **ON_A_CPU | options))


def read_out(recipe: Any, encoder: str, data: str, **options: Any) -> None:
    changed = ON_A_CPU | {"neighbours": recipe.micro_batch} | options
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
    assert [record["config"]["out"] for record in records] == [*map(str, paths)]

    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}
    start(few, ONE, cats_and_dogs, num_workers=1)  # the same run: its record is kept
    with pytest.raises(InputError, match=r"micro_batch|neighbours"):
        start(replace(few, micro_batch=3), ONE, cats_and_dogs)
    (of_one,) = [path for path in paths if "hybrid" in path.name]
    with pytest.raises(InputError, match=r"encoder_digest .* there"):
        start(few, ONE, cats_and_dogs, seed=5, out=of_one)
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
    encoders = (str(trained["catlip"]),)
    options = transfer_options.Options(tiny_recipe, encoders, data, seeds=1, **ON_A_CPU)
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
    for spelling, name in {
        "imagenet:/data/imagenet": "imagenet",
        "starter:data/starter": "starter",
        "folder:/data/pets/": "folder-pets",
        "/data/pets/": "folder-pets",
        "coco:data/starter-scenes/coco": "coco",
    }.items():
        assert data_name(spelling) == name


def test_a_name_that_the_user_gave_stays() -> None:
    found = filled_in(Path("runs/{encoder}/mine.json"), "imagenet:x", "random:a@48", "random:b@48")
    assert found == Path("runs/random-a@48-and-1-more/mine.json")
    assert filled_in(Path("mine.json"), "imagenet:x", ONE) == Path("mine.json")


def test_a_file_that_is_no_record_is_not_replaced(tmp_path) -> None:
    (tmp_path / "notes.json").write_text("[]")
    with pytest.raises(InputError, match=r"notes\.json"):
        is_written(tmp_path / "notes.json", {}, "digest")
