"""What run_all.sh takes where the user gives no data: what it is, what it costs, what to expect."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CC3M = "hf://datasets/pixparse/cc3m-wds/cc3m-"
CC3M_LICENCE = "captions free to use with credit (not certain), photographs of their owners"
CC3M_PAIRS = 2_905_954
MEASURES = ("zero-shot", "linear probe", "fine-tuned")  # of ImageNet-1k, in EXPECTED
EXPECTED = Path(__file__).parent.parent / "reports/published/cc3m_expected.csv"


@dataclass(frozen=True)
class Source:
    """A data set of a hub. Shards are fetched into `folder`, with images reduced to `side` pixels,
    where they take `kept_gb`; a probe is read where it is.
    """

    url: str
    about: str
    licence: str
    gb: float
    folder: str = ""
    side: int = 0
    kept_gb: float = 0

    def __str__(self) -> str:
        where = f", kept in {self.folder} (about {self.kept_gb:g} GB)" if self.folder else ""
        return f"  {self.gb:g} GB: {self.about}\n    {self.url}{where}\n    licence: {self.licence}"


# By scale, without and with a GPU.
SHARDS = {
    ("photos", False): Source(
        f"{CC3M}validation-{{0000..0015}}.tar",
        "CC3M's validation part, 13,443 photographs, each with a caption of the web",
        CC3M_LICENCE,
        gb=1.1,
        folder="data/cc3m-validation",
        side=128,
        kept_gb=0.1,
    ),
    ("photos", True): Source(
        f"{CC3M}train-{{0000..0019}}.tar",
        "a 29th of CC3M, about 100,000 photographs, each with a caption of the web",
        CC3M_LICENCE,
        gb=9,
        folder="data/cc3m-20",
        side=128,
        kept_gb=0.8,
    ),
    **dict.fromkeys(
        (("cc3m", False), ("cc3m", True)),
        Source(
            f"{CC3M}train-{{0000..0575}}.tar",
            f"CC3M, {CC3M_PAIRS:,} photographs, each with a caption of the web",
            CC3M_LICENCE,
            gb=269,
            folder="data/cc3m",
            side=256,
            kept_gb=70,
        ),
    ),
}
PROBES = {
    "photos": Source(
        "wds:hf://datasets/clip-benchmark/wds_vtab-caltech101",
        "Caltech-101, 2,750 labelled photographs to train a probe and 6,090 to test it",
        "not stated",
        gb=0.63,
    )
}

# Images a second of ViT-B/16 on one H100 at 350 TFLOP/s, by the operations of bench.plan; and hours
# of a linear probe and of fine-tuning on ImageNet.
RATES = {"catlip": 3320, "clip": 2830}
PROBE_HOURS, FINETUNE_HOURS = 1.1, 1.1
EPOCHS = 25  # of the recipes cc3m_b16
PLAN = """\
Hours on one H100, by arithmetic at 350 TFLOP/s (published trainings reached a third to a half of
that; CLIP takes a third longer where a step's 2,048 pairs do not fit at once):
{}
Expected on ImageNet-1k, in %, from the literature (recipes differ):
{}
No loss curve of such a training is published, so a run can be held only against final values:
zero-shot after each training, the probe and fine-tuning at the end, the page beside them all."""


def plan_of_cc3m(methods: Sequence[str], epochs: int, seeds: int) -> str:
    """The hours that trainings on CC3M take, and what their encoders are expected to reach."""
    hours = {
        method: epochs * CC3M_PAIRS / RATES[method] / 3600 for method in methods if method in RATES
    }
    lines = [f"  {method}, {epochs} epochs: {number:.1f}" for method, number in hours.items()]
    training = sum(hours.values())
    probed = training + len(hours) * PROBE_HOURS
    whole = training + (len(hours) + 1) * (PROBE_HOURS + FINETUNE_HOURS)
    times = f", {seeds} times" if seeds > 1 else ""
    lines += [
        f"  with a linear probe of each on ImageNet: {probed:.0f}{times}",
        f"  with an untrained encoder's, and all fine-tuned too: {whole:.0f}{times}",
    ]
    with open(EXPECTED, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = []
    for row in rows:
        values = ", ".join(f"{name} {row[name]}" for name in MEASURES if row[name])
        trained = f"{row['method']}, {row['encoder']}"
        trained += f", {row['epochs']} epochs" if row["epochs"] else ""
        expected.append(f"  {trained}: {values} ({row['source']})")
    return PLAN.format("\n".join(lines), "\n".join(expected))
