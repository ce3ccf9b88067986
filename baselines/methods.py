"""Every baseline by name. A new method is one file with one class, and one line here.

Each is an objective (`catlip.objective.Objective`) that needs "tokens". The two forms of CLIP, and
of SigLIP, have the same gradient: they differ in what ranks compute and send.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from baselines.clip import Contrastive
from baselines.openclip import TextTower
from baselines.siglip import Sigmoid
from baselines.superclass import Superclass
from catlip.encoder import ImageEncoder

Baseline = Callable[[ImageEncoder, TextTower], nn.Module]

BASELINES: dict[str, Baseline] = {
    "clip": Contrastive,
    "clip_nonlocal": partial(Contrastive, local_loss=False),
    "siglip": Sigmoid,
    "siglip_gather": partial(Sigmoid, exchange="gather"),
    "superclass": lambda image_encoder, text: Superclass(image_encoder),
}
