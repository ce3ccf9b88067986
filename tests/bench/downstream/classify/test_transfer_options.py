"""Each option of Transfer Init is measured against a random head of the same seed, on the same
images.
"""

import json
from dataclasses import replace
from statistics import fmean

import pytest
from small_data import ON_A_CPU

from bench.downstream.classify.heads import TransferOptions
from bench.downstream.transfer_options import CHOICES, Options, main, variants
from catlip.recipes.transfer import STARTER_PROBE


def test_a_variant_differs_from_the_defaults_in_one_option() -> None:
    found = variants(None)
    assert found.pop("default") == TransferOptions()
    assert len(found) == sum(map(len, CHOICES.values()))
    for name, options in found.items():
        option, _, value = name.partition(" ")
        assert str(getattr(options, option)) == value
        assert replace(options, **{option: getattr(TransferOptions(), option)}) == TransferOptions()
        assert options != TransferOptions()


def test_gains_are_those_of_pairs(make_run, cats_and_dogs, tmp_path) -> None:
    out, run = tmp_path / "options.json", str(make_run())
    recipe = replace(STARTER_PROBE, epochs=2)
    main(Options(recipe, (run,), cats_and_dogs, out, seeds=2, **ON_A_CPU))
    record = json.loads(out.read_text())
    rows = record["samples"]["runs"]
    assert {(row["share"], row["num_train"]) for row in rows} == {("least", 2), ("all", 8)}
    assert len(rows) == 2 * 2 * (1 + len(variants(None)))
    for share in ("least", "all"):
        default, random = (
            fmean(row["top1"] for row in rows if (row["variant"], row["share"]) == (name, share))
            for name in ("default", "random")
        )
        gain = record["metrics"]["gains"]["default"][f"data, {share}"]
        assert gain == {"mean": pytest.approx(default - random), "spread": 0, "n": 1}
