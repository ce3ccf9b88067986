"""The page's sections on captions, in order."""

from bench.label_accuracy.result import accuracy_blocks
from bench.labelling.result import labelling_section
from bench.study.result import threshold_section
from catlip.label.result import audit_blocks
from catlip.results.blocks import Section
from catlip.results.run import Records, Setting
from catlip.vocabulary.result import overlap_section, vocabulary_section


def word_sections(main: Setting | None, records: Records) -> list[Section]:
    """All sections on captions."""
    labels = [*accuracy_blocks(main, records), *audit_blocks(main, records)]
    return [
        vocabulary_section(main, records),
        overlap_section(main, records),
        Section("labels", "Are the labels right?", labels),
        labelling_section(main, records),
        threshold_section(main, records),
    ]
