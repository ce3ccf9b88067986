"""The sections on captions, labels and vocabulary."""

from report_support import golden_record, page_in, table, written


def test_numbers_of_two_scales_never_share_a_table(tmp_path):
    content = golden_record("vocabulary_statistics")
    written(tmp_path, content)
    content["metrics"] |= {"num_classes": 24_321, "num_captions": 1_300_000_001}
    written(tmp_path, content, "datacomp")
    page = page_in(tmp_path)
    large, small = {"24,321", "1,300,000,001"}, {"33", "14,443"}
    for name, scale, own, other in (
        ("labels", "datacomp", large, small),
        ("labels_2", "starter", small, large),
    ):
        found = table(page, name)
        cells = {cell.text for row in found.rows for cell in row}
        assert own <= cells
        assert not other & cells
        assert scale in found.title
