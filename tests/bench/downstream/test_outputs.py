"""Each encoder and data set has a record of its own, and none replaces another's."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_data import ON_A_CPU, write_folders

from bench.downstream.outputs import data_name, encoder_name
from bench.downstream.probe.config import Readouts
from bench.downstream.probe.readouts import main
from catlip.cli import InputError
from catlip.records.record import read_record

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
