"""The steps of `./run_all.sh --study`: each method tuned alike, trained at several lengths, on
fractions of the data, by several encoders and with noise; CatLIP with several vocabularies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pipeline.inputs import module_of
from pipeline.options import SMALL_SCALES
from pipeline.step import Step

# Images that the trainings of the scaling study see; fractions and noises are compared at the
# middle length, encoders there and at the longest. The two longest cost more than all others
# together, and have fewer seeds.
LENGTHS = {
    "starter": ("8000", "16000", "32000", "64000", "128000"),
    "photos": ("8000", "16000", "32000", "64000", "128000"),
    "cc3m": ("18000000", "36000000", "72000000", "145000000", "290000000"),
    "datacomp": ("800000000", "1600000000", "3300000000", "6500000000", "13100000000"),
}
FRACTIONS = ("0.125", "0.25", "0.5")
NOISES = ("none", "lost=0.4", "shuffled=0.2", "chatty=1")
SEEDS, SEEDS_OF_LONGEST = 6, 3
TRIALS = 16
# The middle length in steps of CatLIP's recipe, whose batch is 32.
SHORT = ("--epochs", "0", "--iterations", "1000", "--warmup-iterations", "200")
EARLIER = Path("reports/records")


@dataclass(frozen=True)
class Data:
    """What a study trains and probes on."""

    shards: str
    vocabulary: Path
    labels: Path
    probe: str


@dataclass(frozen=True)
class Part:
    """One command for each method.

    Attributes:
        records: what the names of a method's records end with.
    """

    name: str
    program: str
    arguments: Sequence[str]
    records: Sequence[str]


def study_steps(
    scale: str,
    data: Data,
    runs: Path,
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    device: Sequence[str],
) -> Iterator[Step]:
    """One step for each part and method, then one for the thresholds.

    Args:
        runs: the folder of everything that this scale makes.
        device: arguments that say where to run.
    """
    small = scale in SMALL_SCALES
    recipe = ("--recipe", scale if small else f"{scale}_b16")
    probe = ("--probe-recipe", "starter" if small else "table_7a")
    inputs = ("--shards", data.shards, "--vocabulary", str(data.vocabulary))
    folder = data.probe.partition(":")[2] or data.probe
    for part, method in product(_parts(scale, data.probe, list(seeds)[:SEEDS]), methods):
        out = runs / part.program
        yield Step(
            f"study-{part.name}-{method}",
            program=f"bench.{part.program}",
            arguments=("--methods", method, *recipe, *probe, *part.arguments, *inputs),
            other_arguments=(
                *("--labels-dir", str(data.labels), "--out", str(out)),
                *("--earlier", str(EARLIER / scale / part.program), *device),
            ),
            reads=[data.shards, str(data.vocabulary), str(data.labels), folder],
            makes=[out / f"{method}-{record}.json" for record in part.records],
            also=[module_of(method)],
        )
    thresholds = runs / "threshold/threshold.json"
    yield Step(
        "study-thresholds",
        program="bench.threshold",
        arguments=(
            *(*recipe, *probe, *(SHORT if small else ()), "--probe", data.probe),
            *("--seeds", *map(str, seeds[:SEEDS]), "--shards", data.shards),
        ),
        other_arguments=("--labels-dir", str(data.labels), "--out", str(thresholds), *device),
        reads=[data.shards, str(data.labels), folder],
        makes=[thresholds],
    )


def _parts(scale: str, probe: str, seeds: Sequence[int]) -> Iterator[Part]:
    *short, longer, longest = LENGTHS[scale]
    middle, long = short[-1], [longer, longest]
    usual, others = "vit_b16", ("vit_small16", "vit_l16")
    if scale in SMALL_SCALES:
        usual, others = "hybrid_mini", ("hybrid_micro", "hybrid_small")
    if scale == "starter":
        # At other scales the user has to say what validation data are.
        validation = probe.replace("starter:", "starter-validation:", 1)
        trials = [f"{number:02}" for number in range(TRIALS)]
        yield Part("tuning", "tuning", ("--probe", validation, "--trials", str(TRIALS)), trials)
    scaling = {
        "lengths": (short, (), [f"{usual}-{images}" for images in short]),
        "encoders": (
            [middle],
            ("--encoders", *others),
            [f"{encoder}-{middle}" for encoder in others],
        ),
        "fractions": (
            [middle],
            ("--fractions", *FRACTIONS),
            [f"{usual}-{middle}-of-{fraction}" for fraction in FRACTIONS],
        ),
        "long": (long, (), [f"{usual}-{images}" for images in long]),
        "long-encoders": (
            [longest],
            ("--encoders", *others),
            [f"{encoder}-{longest}" for encoder in others],
        ),
    }
    for name, (images, arguments, cells) in scaling.items():
        own = seeds[:SEEDS_OF_LONGEST] if longest in images else seeds
        yield Part(
            name,
            "scaling",
            ("--probe", probe, "--seeds", *map(str, own), "--images", *images, *arguments),
            _with_seeds(cells, own),
        )
    test = ("--probe", probe, "--seeds", *map(str, seeds), "--images", middle)
    noises = [noise.replace("=", "-") for noise in NOISES]
    yield Part("noise", "robustness", (*test, "--noises", *NOISES), _with_seeds(noises, seeds))


def _with_seeds(names: Sequence[str], seeds: Sequence[int]) -> list[str]:
    return [f"{name}-seed{seed}" for name in names for seed in seeds]
