"""CLIP on nouns: a caption is the bag of its nouns, the classes that CatLIP would predict.

Between CLIP with a bag of words and CatLIP: it tells what leaving out all other words changes.

    python -m baselines.pretrain --method clip_nouns
"""

from typing import Self

from torch import Tensor, nn

from baselines.clip import BagOfWordsContrastive
from baselines.openclip import bag_of_words
from catlip.costs import TextTower
from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import ImageEncoder


class BagOfNouns(nn.Sequential):
    """A text tower: the mean of the vectors of a caption's nouns, then a norm and a projection. The
    mean of no noun is zero.
    """

    def forward(self, labels: RaggedLabels) -> Tensor:
        nouns, norm, projection = self
        return projection(norm(nouns(labels.values, labels.offsets[:-1])))


class NounContrastive(BagOfWordsContrastive):
    """CLIP with a bag of nouns as text tower, as wide as the bag of words."""

    name, label, colour, marker = "clip_nouns", "CLIP on nouns", "#8d5524", "<"
    order, asks, reads, scores_captions = 6, "contrast", "nouns", False
    needs = frozenset({"labels"})

    def __init__(self, image_encoder: ImageEncoder, text: TextTower, num_classes: int):
        self.num_classes = num_classes
        super().__init__(image_encoder, text)

    def set_text_tower(self, text: TextTower) -> None:
        self.text = text
        self.text_encoder = BagOfNouns(*bag_of_words(text, self.num_classes, padding=None))

    @classmethod
    def build(cls, image_encoder: ImageEncoder, encoder_name: str, base_rates: Tensor) -> Self:
        return cls(image_encoder, cls.tower(encoder_name), len(base_rates))

    def captions(self, batch: Batch) -> RaggedLabels:
        assert batch.labels is not None, "the loader makes what `needs` names"
        return batch.labels
