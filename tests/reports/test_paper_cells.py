"""A run at the paper's scale fills its own cell of the paper's tables, and nothing else does."""

import pytest
from report_support import records_in

from catlip.records.select import is_enough
from reports.paper.paper_tables import result_tables


def filled(tmp_path):
    """Every cell of ours that holds a number: (table, row's label, column) -> cell."""
    found = {}
    for table in result_tables(records_in(tmp_path)):
        for row in table.rows:
            for column, cell in zip(table.columns[1:], row[1:], strict=len(row) > 1):
                is_ours = column.partition(" (")[0].endswith(("ours", "measured here"))
                if is_ours and cell.text not in ("", "not run"):
                    found[table.name, row[0].text, column] = cell
    return found


def texts(found):
    return {place: cell.text for place, cell in found.items()}


@pytest.mark.parametrize(("scale", "row"), [("cc3m", "CC3M"), ("datacomp", "DataComp-1.3B")])
def test_probe_at_the_papers_scale_fills_its_cell_alone(transfer, tmp_path, scale, row):
    for seed in range(2):
        transfer("linear_probe", "catlip", scale, {"imagenet_top1": 0.58 + 0.01 * seed}, seed)
        transfer("linear_probe", "clip", scale, {"imagenet_top1": 0.5}, seed)
    ((place, cell),) = filled(tmp_path).items()
    assert place == ("table_1", row, "ImageNet-1k top-1, LP, ours (%)")
    assert cell.full == "58.5 ± 0.7 (n = 2, Device A)"
    assert cell.anchor.startswith("records-")
    assert cell.quantity.n == 2


def test_fine_tuning_fills_tables_1_and_2_by_method_encoder_and_resolution(transfer, tmp_path):
    transfer("finetune", "catlip", "datacomp", {"imagenet_top1": 0.84, "places365_top1": 0.59})
    transfer("finetune", "catlip", "datacomp", {"imagenet_top1": 0.88}, encoder="vit_l16", side=512)
    transfer("finetune", "clip", "datacomp", {"imagenet_top1": 0.845}, encoder="vit_b16_conv")
    found = filled(tmp_path)
    imagenet = "ImageNet-1k top-1, ours (%)"
    assert texts(found) == {
        ("table_1", "DataComp-1.3B", "ImageNet-1k top-1, FT, ours (%)"): "84.0",
        ("table_1", "DataComp-1.3B", "Places365 top-1, FT, ours (%)"): "59.0",
        ("table_2", "CLIP ViT B/16 (Our repro.)", imagenet): "84.5",
        ("table_2", "CatLIP ViT B/16 (Ours)", imagenet): "84.0",
        ("table_2", "CatLIP ViT B/16 (Ours)", "Places365 top-1, ours (%)"): "59.0",
        ("table_2", "CatLIP ViT L/16 (Ours)", imagenet): "88.0",
    }
    (of_another_stem,) = [cell for cell in found.values() if "stem" in " ".join(cell.remarks)]
    assert of_another_stem.text == "84.5"


def test_dense_transfer_fills_tables_3_to_5_from_datacomp_alone(transfer, tmp_path):
    for scale in ("cc3m", "datacomp"):
        transfer("multilabel", "catlip", scale, {"map_macro": 0.88, "map_micro": 0.9})
        transfer("segmentation", "clip", scale, {"miou_fixed": 0.49, "miou_slide": 0.5})
        precisions = {"box_ap": 0.534, "mask_ap": 0.464}
        transfer("detection", "catlip", scale, precisions, encoder="vit_h16")
    found = filled(tmp_path)
    assert texts(found) == {
        ("table_3", "CatLIP", "COCO mAP, ours (%)"): "88.0",
        ("table_4", "CLIP (Our impl.)", "mIoU, ours (%)"): "49.0",
        ("table_5", "CatLIP", "COCO AP box, ours (%)"): "53.4",
        ("table_5", "CatLIP", "COCO AP mask, ours (%)"): "46.4",
    }
    remarks = found["table_4", "CLIP (Our impl.)", "mIoU, ours (%)"].remarks
    assert "sliding window 50.0 %" in " ".join(remarks)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": "starter"},
        {"scale": "starter", "folder": "datacomp"},
        {"images": 1e6},
        {"side": 80},
        {"method": "catlip:raw"},
        {"encoder": "hybrid_mini"},
        {"config": {"init": "transfer"}},
        {"config": {"encoder": "elsewhere/weights.safetensors"}},
        {"metrics": {"map_macro": "0.9"}},
    ],
)
def test_cells_take_nothing_below_the_papers_scale(transfer, tmp_path, changes):
    papers = {"kind": "multilabel", "method": "catlip", "scale": "datacomp"}
    transfer(**papers | {"metrics": {"map_macro": 0.9}} | changes)
    assert filled(tmp_path) == {}


def test_nine_tenths_of_the_papers_shortest_training_are_enough():
    for scale, images in (("cc3m", 25 * 2.9e6), ("datacomp", 200_000 * 65_536)):
        assert is_enough(0.91 * images, scale)
        assert not is_enough(0.89 * images, scale)
    assert not is_enough(1e12, "starter")


def test_cached_features_and_mixed_recipes_and_nan_are_said_at_the_cell(transfer, tmp_path):
    half, none = {"imagenet_top1": 0.5}, {"imagenet_top1": float("nan")}
    transfer("linear_probe", "catlip", "cc3m", half, config={"cached_features": True})
    transfer("linear_probe", "catlip", "cc3m", none, 1, encoder="vit_b16_conv")
    (cell,) = filled(tmp_path).values()
    assert cell.text == "NaN"
    for word in ("72 million", "stem", "augmentation", "Beware"):
        assert word in " ".join(cell.remarks)


def test_releases_weights_have_a_column_of_their_own(write_record, tmp_path):
    config = {"encoder": "released:vit_l16", "recipe": {"resolution": 512}}
    metrics = {"method": "released:vit_l16", "map_macro": 0.9, "num_classes": 80, "num_val": 5000}
    write_record("multilabel", "released", scale="bench", metrics=metrics, config=config)
    assert texts(filled(tmp_path)) == {
        ("table_3", "CatLIP", "COCO mAP, release's weights, measured here (%)"): "90.0"
    }
