"""What a method of pre-training is: one file with one subclass of `Objective`.

Such a file in `baselines/`, or in a folder that `CATLIP_METHODS` names, is a method of every
program: `baselines.pretrain --method toy` trains it, `bench.step_time --methods catlip toy` times
it, and the page shows its label in its colour. CONTRIBUTING.md shows an example.
"""

from typing import TYPE_CHECKING, Literal, Self

from torch import Tensor, nn

from catlip.costs import FLOAT32, Exchange, Matmul, StepShape, TextTower

if TYPE_CHECKING:  # it imports timm
    from catlip.encoder import ImageEncoder

TOWERS = ("image_encoder.", "text_encoder.")


class Objective(nn.Module):
    """A method of pre-training: it holds the image encoder and turns a batch into a loss.

    A subclass defines `forward`, which maps a Batch to a scalar loss, mean per image. It overrides
    the attributes and functions whose defaults do not fit. `run_all.sh` and the page know what the
    class itself states, written out, of the attributes up to `scores_captions`.

    Attributes:
        name: what programs and records call the method.
        label, colour, marker: how the page shows it.
        order: where it stands in tables, the least first.
        needs: the optional fields of a Batch that it reads: "labels", "tokens", or both.
        classes: what labels are, if it needs them: "nouns" of a vocabulary, or "subwords".
        asks, reads: what the loss asks, and of what part of a caption, in a few words; the study of
            losses and words has a method for each pair of LOSSES and READ there.
        scores_captions: whether `bench.downstream.retrieval` can compare an image with a caption.
        whole_step: whether it is called with all micro-batches of a step at once; it then takes
            the random numbers of each by its `go_to_random`, if that is not None.
        starts: the optional fields of a recipe that it reads: "temperature", "logit_bias", or both.
        text: the shape of its member `text_encoder`, if it has one.
        image_encoder: what is transferred; maps [B, 3, H, W] to [B, num_features].
    """

    name: str = ""
    label: str = ""
    colour: str = "#7a6000"
    marker: str = "P"
    order: int = 100
    needs: frozenset[str] = frozenset()
    classes: Literal["nouns", "subwords"] = "nouns"
    asks: str = ""
    reads: str = ""
    scores_captions: bool = False
    whole_step: bool = False
    starts: frozenset[str] = frozenset()
    text: TextTower | None = None
    image_encoder: nn.Module

    @classmethod
    def build(cls, image_encoder: "ImageEncoder", encoder_name: str, base_rates: Tensor) -> Self:
        """The method on a freshly initialised image encoder, a key of ENCODERS.

        Args:
            base_rates: [V] float in (0, 1), the fraction of training captions that hold each class;
                empty for a method that needs no labels.
        """
        return cls(image_encoder)

    def set_progress(self, fraction: float) -> None:
        """Called before each step with the fraction of the run's steps that are done, in [0, 1)."""

    def metrics(self) -> dict[str, Tensor]:
        """Scalars by name for the log."""
        return {}

    def lr_scale(self, name: str) -> float:
        """The factor by which the learning rate of the parameter of that name is multiplied."""
        return 1.0

    def decays(self, name: str) -> bool:
        """Whether the parameter of that name has weight decay, if it has two dimensions or more."""
        return True

    def matmuls(self, step: StepShape) -> list[Matmul]:
        """Matrix products of a forward pass outside the two encoders; by default linear layers."""
        return [
            Matmul(step.batch_size, layer.in_features, layer.out_features)
            for layer in self._layers()
        ]

    def kept_bytes(self, step: StepShape) -> int:
        """Bytes that autograd keeps on a device outside the two encoders and the image features."""
        return sum(
            step.logits_bytes(layer.in_features, layer.out_features) for layer in self._layers()
        )

    def loss_bytes(self, step: StepShape) -> int:
        """Bytes beyond `kept_bytes` when the backward pass of the loss begins."""
        return sum(2 * FLOAT32 * step.batch_size * layer.out_features for layer in self._layers())

    def exchanges(self, step: StepShape) -> list[Exchange]:
        """What each of several ranks sends in a step beside gradients, parameters and buffers."""
        return []

    def _layers(self) -> list[nn.Linear]:
        return [
            module
            for name, module in self.named_modules()
            if isinstance(module, nn.Linear) and not name.startswith(TOWERS)
        ]
