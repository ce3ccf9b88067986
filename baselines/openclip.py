"""What the baselines take from OpenCLIP: its tokenizer, and its text tower beside the image encoder
that CatLIP trains. CLIP and SigLIP differ in how `compare` makes a loss of the vectors of both.
"""

from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from open_clip import SimpleTokenizer
from open_clip.transformer import ResidualAttentionBlock, TextTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from catlip.captions import clean
from catlip.cli import choose
from catlip.costs import FLOAT32, TEXT_VOCABULARY, Matmul, StepShape, TextTower
from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import ImageEncoder
from catlip.objective import Objective

START, END = 49_406, 49_407  # open and close a caption; zeros come after END


# The reference release pairs ViT-B with OpenCLIP's text tower of that name, and L and H with a
# 768-wide one. Beside the starter's hybrid encoders a text tower needs 30 % of the image encoder's
# operations; beside ViT-B/16, 17 %.
TEXT_TOWERS = {
    "hybrid_micro": TextTower(32, 2, 1, joint=64, context=24),
    "hybrid_mini": TextTower(64, 2, 1, joint=128, context=24),
    "hybrid_small": TextTower(128, 2, 2, joint=256, context=24),
    "cnn": TextTower(128, 2, 2, joint=256, context=24),
    "vit_tiny16": TextTower(192, 12, 3, joint=192),
    "vit_small16": TextTower(384, 12, 6, joint=384),
    "vit_b16": TextTower(512, 12, 8),
    "vit_l16": TextTower(768, 12, 12),
    "vit_h16": TextTower(768, 12, 12),
    "vit_b16_conv": TextTower(512, 12, 8),
    "vit_l16_conv": TextTower(768, 12, 12),
    "vit_h16_conv": TextTower(768, 12, 12),
}


class PackedCaptions(NamedTuple):
    """The tokens of B captions one after the other, without what pads them to the context.

    Attributes:
        tokens: [sum T].
        positions: [sum T], of each token in its caption.
        slots: [sum T], of each token in `padded`, flat.
        ends: [B], where each caption ends among the tokens.
        padded: [B, T of the longest]; a shape that compiled blocks can take as dynamic.
    """

    tokens: Tensor
    positions: Tensor
    slots: Tensor
    ends: Tensor
    padded: Tensor


def pack(tokens: Tensor, lengths: list[int]) -> PackedCaptions:
    """Captions [B, context] without their padding. The host, which knows their lengths, does not
    wait for the device.
    """
    padded = tokens[:, : max(lengths)]
    counts = tokens.argmax(dim=1) + 1  # of the tokens to END, the greatest one
    after = counts.cumsum(0)
    rows = torch.repeat_interleave(counts, output_size=sum(lengths))
    positions = torch.arange(len(rows), device=tokens.device) - (after - counts)[rows]
    slots = rows * padded.shape[1] + positions
    return PackedCaptions(padded.flatten()[slots], positions, slots, ends=after - 1, padded=padded)


class PackedBlock(ResidualAttentionBlock):
    """OpenCLIP's block on the tokens [sum T, width] of packed captions, which come in place of an
    attention mask. Only attention itself pads them, to the longest of the batch: its two products
    are 1 to 4 % of a block's at such lengths, and every device has a fused kernel for that form.
    """

    def attention(
        self,
        q_x: Tensor,
        k_x: Tensor | None = None,
        v_x: Tensor | None = None,
        attn_mask: PackedCaptions | None = None,
    ) -> Tensor:
        assert attn_mask is not None
        attention, slots, (batch, longest) = self.attn, attn_mask.slots, attn_mask.padded.shape
        packed = F.linear(q_x, attention.in_proj_weight, attention.in_proj_bias)
        padded = packed.new_zeros(batch * longest, packed.shape[1]).index_copy(0, slots, packed)
        query, key, value = (
            part.view(batch, longest, attention.num_heads, -1).transpose(1, 2)
            for part in padded.chunk(3, dim=1)
        )
        # No caption looks ahead, so none sees its padding.
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(batch * longest, -1)
        return attention.out_proj(mixed.index_select(0, slots))

    def compile(self, *args: Any, **options: Any) -> None:
        """One graph for all steps, each of which has another number of tokens."""
        super().compile(*args, **options | {"dynamic": True})


class PackedTextTransformer(TextTransformer):
    """OpenCLIP's text tower on packed captions."""

    def forward(self, captions: PackedCaptions) -> Tensor:
        x = self.token_embedding(captions.tokens) + self.positional_embedding[captions.positions]
        x = self.transformer(x, attn_mask=captions)
        return self.ln_final(x[captions.ends]) @ self.text_projection


class TwoTowers(Objective):
    """An image encoder and OpenCLIP's text tower, and a loss that compares all images and captions
    of a step; the micro-batches of a step therefore belong in one call.
    """

    needs = frozenset({"tokens"})
    starts = frozenset({"temperature"})
    whole_step = True
    text: TextTower

    @classmethod
    def tower(cls, encoder: str, context: int | None = None) -> TextTower:
        """`text_tower`, but for what the method itself says of it."""
        return text_tower(encoder, context)

    def __init__(self, image_encoder: ImageEncoder, text: TextTower):
        super().__init__()
        self.image_encoder = image_encoder
        self.projection = nn.Linear(image_encoder.num_features, text.joint, bias=False)
        nn.init.normal_(self.projection.weight, std=self.projection.in_features**-0.5)
        self.set_text_tower(text)

    def set_text_tower(self, text: TextTower) -> None:
        self.text = text
        self.text_encoder = openclip_tower(text) if text.depth else bag_of_words(text)

    def pack_captions(self) -> None:
        """From now on, do not compute the padding of captions; the loss differs only by rounding.
        The weights stay. A bag of words has no padding.
        """
        if isinstance(self.text_encoder, TextTransformer):
            self.text_encoder.__class__ = PackedTextTransformer
            for block in self.text_encoder.transformer.resblocks:
                block.__class__ = PackedBlock

    def share_rows(self, rows: Tensor) -> None:
        """From now on, token t is read from row `rows[t]` of the token table ([49,408] int32);
        tokens may share one, which has the weights of the first of them. The other rows are
        dropped: no optimizer, average or clipping works on them.
        """
        _, first = np.unique(rows.numpy(force=True), return_index=True)
        for table in self.text_encoder.modules():
            if isinstance(table, nn.Embedding | nn.EmbeddingBag) and len(table.weight) == len(rows):
                table.weight = nn.Parameter(table.weight.detach()[torch.from_numpy(first)])
                table.num_embeddings = len(first)
                table.register_buffer("rows", rows.to(table.weight.device))  # so that files have it
                table.register_forward_pre_hook(lambda table, tokens: (table.rows[tokens[0]],))

    @classmethod
    def build(cls, image_encoder: ImageEncoder, encoder_name: str, base_rates: Tensor) -> Self:
        return cls(image_encoder, cls.tower(encoder_name))

    def forward(self, *batches: Batch) -> Tensor:
        """The loss, mean per pair, of all micro-batches of a step as if they were one batch.

        With several, only the embeddings are kept, and each micro-batch is embedded again in the
        backward pass (as in GradCache, Gao et al. 2021): the gradient of the large batch in the
        memory of a small one, for one more forward pass. Batch norm sees micro-batches, and updates
        its statistics twice.
        """
        if len(batches) == 1:
            image, text, *losses = self.embed(batches[0].images, batches[0])
        else:
            parts = []
            for batch in batches:
                if batch.go_to_random:
                    batch.go_to_random()
                parts.append(checkpoint(self.embed, batch.images, batch, use_reentrant=False))
            image, text, *losses = (torch.cat(rows) for rows in zip(*parts, strict=True))
        return self.compare(image, text) + sum(loss.mean() for loss in losses)

    def embed(self, images: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """Unit vectors [B, joint] of images and of captions. A method that has a further loss
        beside `compare` adds it as [1], mean per image. The images are an argument because torch's
        `checkpoint` restores the random state only of devices of tensors among its arguments.
        """
        return self.unit_vectors(self.image_encoder(images), self.captions(batch))

    def captions(self, batch: Batch) -> Tensor | PackedCaptions | RaggedLabels:
        """What the text tower reads."""
        assert batch.tokens is not None, "the loader makes what `needs` names"
        packed = isinstance(self.text_encoder, PackedTextTransformer)
        return pack(batch.tokens, batch.lengths) if packed else batch.tokens

    def unit_vectors(
        self, features: Tensor, captions: Tensor | PackedCaptions | RaggedLabels
    ) -> tuple[Tensor, Tensor]:
        """Unit vectors [B, joint] of features [B, num_features] and of captions."""
        image = F.normalize(self.projection(features), dim=-1)
        text = F.normalize(self.text_encoder(captions), dim=-1)
        return image, text

    def compare(self, image: Tensor, text: Tensor) -> Tensor:
        """The loss of this rank's pairs, [B, joint] unit vectors, with those of all ranks."""
        raise NotImplementedError

    def matmuls(self, step: StepShape) -> list[Matmul]:
        return [*super().matmuls(step), self.similarities(step)]

    def similarities(self, step: StepShape) -> Matmul:
        raise NotImplementedError

    def kept_bytes(self, step: StepShape) -> int:
        """The 16-bit copy of the projection under autocast, embeddings, and similarities."""
        pairs = step.batch_size * step.global_batch
        return (
            step.copies_bytes(self.projection.weight.numel())
            + self.embeddings_bytes(step)
            + self.similarity_bytes(step) * pairs
        )

    def loss_bytes(self, step: StepShape) -> int:
        """Two float32 gradients as large as the similarities."""
        return 2 * FLOAT32 * step.batch_size * step.global_batch

    def embeddings_bytes(self, step: StepShape) -> int:
        """Bytes kept of the embeddings of all ranks."""
        raise NotImplementedError

    def similarity_bytes(self, step: StepShape) -> int:
        """Bytes kept of the similarity of one image and one caption."""
        raise NotImplementedError

    def feature_bytes(self, step: StepShape) -> int:
        """Bytes of a number of an embedding: on a GPU, autocast normalizes in float32."""
        return step.number_bytes if step.device_type == "cpu" else FLOAT32

    def embedding_bytes(self, step: StepShape) -> int:
        """One tower's embeddings of this rank, as they are sent."""
        return step.batch_size * self.text.joint * self.feature_bytes(step)


class CaptionTokenizer:
    """Turns captions into [n, context] int64 tokens, after the cleaning that labelling uses."""

    def __init__(self, context: int):
        self.tokenizer = SimpleTokenizer(context_length=context)

    def __call__(self, captions: list[str]) -> Tensor:
        return self.tokenizer([clean(caption) for caption in captions])


def rows_of_tokens(occur: Tensor) -> Tensor:
    """[49,408] int32: the row of each token in a table of those that occur, [49,408] bool, and of
    those that open, close and pad a caption. All others share the last row.
    """
    occur = occur.clone()
    occur[[0, START, END]] = True
    return torch.where(occur, occur.cumsum(0) - 1, occur.sum()).int()


def text_tower(encoder: str, context: int | None = None) -> TextTower:
    """The text tower that goes with the encoder, for so many tokens."""
    text = choose("text tower for encoder", encoder, TEXT_TOWERS)
    return replace(text, context=context or text.context)


def openclip_tower(text: TextTower) -> TextTransformer:
    return TextTransformer(
        text.context, TEXT_VOCABULARY, text.width, text.heads, text.depth, output_dim=text.joint
    )


def bag_of_words(
    text: TextTower, num_words: int = TEXT_VOCABULARY, padding: int | None = 0
) -> nn.Sequential:
    """A text tower without blocks: the mean of the embeddings of a caption's tokens, then the norm
    and the projection of OpenCLIP's tower. Padding is left out, and with it "!", token 0 too.
    """
    words = nn.EmbeddingBag(num_words, text.width, mode="mean", padding_idx=padding)
    projection = nn.Linear(text.width, text.joint, bias=False)
    nn.init.normal_(words.weight, std=0.02)  # both as OpenCLIP's tower
    nn.init.normal_(projection.weight, std=text.width**-0.5)
    return nn.Sequential(words, nn.LayerNorm(text.width), projection)


def ranks() -> dict[str, int]:
    """Rank and number of ranks, as arguments of OpenCLIP's losses."""
    if not dist.is_initialized():
        return {"rank": 0, "world_size": 1}
    return {"rank": dist.get_rank(), "world_size": dist.get_world_size()}
