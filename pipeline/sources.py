"""What run_all.sh takes where the user gives no data: what it is, and what it costs."""

from dataclasses import dataclass

CC3M = "hf://datasets/pixparse/cc3m-wds/cc3m-"
CC3M_LICENCE = "captions free to use with credit (not certain), photographs of their owners"


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
            "CC3M, 2,905,954 photographs, each with a caption of the web",
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
