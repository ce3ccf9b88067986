"""Text tower and tokenizer are OpenCLIP's, on our captions; a baseline is an objective."""

from copy import deepcopy
from dataclasses import replace
from itertools import repeat

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines import subwords
from baselines.methods import BASELINES
from baselines.openclip import (
    END,
    START,
    CaptionTokenizer,
    TwoTowers,
    bag_of_words,
    rows_of_tokens,
    text_tower,
)
from baselines.pretrain import PretrainBaseline, method_of, recipes_of
from bench.downstream.probe.readouts import towers_of
from bench.measuring import methods
from bench.measuring.factors import Factors
from catlip.cli import InputError
from catlip.costs import TEXT_VOCABULARY
from catlip.encoder import build_encoder
from catlip.encoders.load import load_encoder
from catlip.objective import Objective
from catlip.pretraining.method import apply_recipe_start
from catlip.pretraining.run import pretrain
from catlip.recipes.pretrain import STARTER
from catlip.training.distributed import init_distributed
from catlip.training.parallel import compile_blocks
from catlip.training.trainer import Trainer
from catlip.weights.files import read_file


def test_captions_are_cleaned_as_for_labelling_before_they_are_tokenized() -> None:
    tokenize = CaptionTokenizer(32)
    tokens = tokenize(["A+dog%20<b>runs</b>", "a dog runs", ""])
    assert tokens.shape == (3, 32)
    assert tokens.dtype == torch.int64
    assert torch.equal(tokens[0], tokens[1])
    assert tokens[2].tolist() == [START, END] + [0] * 30


@pytest.mark.parametrize("method", BASELINES)
def test_baseline_starts_from_the_encoder_of_every_other(method) -> None:
    objective = methods.build(Factors(method, "hybrid_mini", 32, num_classes=10, seed=3))
    assert objective.needs <= {"labels", "tokens"}
    torch.manual_seed(3)
    encoder = build_encoder("hybrid_mini", 32).state_dict()
    for name, value in objective.image_encoder.state_dict().items():
        assert torch.equal(value, encoder[name])
    objective(
        methods.synthetic_batch(Factors("catlip", "hybrid_mini", 32, 4, num_classes=10), seed=0)
    ).backward()
    for name, parameter in objective.named_parameters():
        assert parameter.ndim > 0, f"{name} could not be sharded"
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("recipe", "context"), [("starter", 24), ("photos", 32)])
def test_recipe_says_how_many_tokens_of_a_caption_are_read(recipe, context, tmp_path) -> None:
    run = PretrainBaseline(recipes_of("clip")[recipe], ("0.tar",), tmp_path / "run")
    method = method_of(run)
    objective = method.build()
    assert objective.text.context == len(objective.text_encoder.positional_embedding) == context
    assert method.tokenize(["a dog"]).shape == (1, context)


def test_bag_of_words_is_the_mean_of_its_tokens_in_any_order() -> None:
    bag = bag_of_words(replace(text_tower("hybrid_mini"), depth=0)).double()
    tokens = torch.tensor([[START, 5, 6, END, 0, 0], [START, 6, 5, END, 0, 0]])
    found = bag(tokens)
    words, norm, projection = bag
    mean = words.weight[[START, 5, 6, END]].mean(0)
    torch.testing.assert_close(found, projection(norm(mean)).expand(2, -1))


def test_what_a_method_has_not_is_refused() -> None:
    with pytest.raises(InputError, match="--logit-bias"):
        apply_recipe_start(build("clip"), replace(STARTER, logit_bias=-3.0))
    with pytest.raises(InputError, match="--temperature"):
        apply_recipe_start(build("superclass"), replace(STARTER, temperature=0.05))


CONTEXT = 24  # of the tower of hybrid_mini


def captions(lengths: list[int]) -> Tensor:
    """Captions of so many tokens, of few words, as the tokenizer makes them."""
    tokens = torch.arange(len(lengths) * CONTEXT).reshape(-1, CONTEXT) % 7 + 1
    for row, length in zip(tokens, lengths, strict=True):
        row[0], row[length - 1] = START, END
        row[length:] = 0
    return tokens


def loss_and_gradients(objective: Objective, lengths: list[int]) -> list[Tensor]:
    batch = methods.synthetic_batch(
        Factors("catlip", "hybrid_mini", 16, len(lengths), num_classes=5), seed=0
    )
    objective.zero_grad()
    images = batch.images.to(next(objective.parameters()).dtype) / 255
    tokens = captions(lengths)
    loss = objective(replace(batch, images=images, tokens=tokens, lengths=lengths))
    loss.backward()
    return [loss.detach(), *(parameter.grad for parameter in objective.parameters())]


def both_ways(method: str = "clip") -> tuple[TwoTowers, TwoTowers]:
    """A method that computes the padding of captions, and one with its weights that does not."""
    padded = methods.build(Factors(method, "hybrid_mini", 16, num_classes=5, seed=0)).eval()
    packed = deepcopy(padded)
    packed.pack_captions()
    return padded, packed


@pytest.fixture(scope="module")
def clips() -> tuple[TwoTowers, TwoTowers]:
    return both_ways()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(2, CONTEXT), min_size=1, max_size=8))
@example([2])  # one caption, without a word
@example([2, 2, 2])
@example([CONTEXT, 2])
@example([CONTEXT] * 3)
def test_captions_without_padding_have_the_same_loss_and_gradient(clips, lengths) -> None:
    padded, packed = (loss_and_gradients(deepcopy(clip).double(), lengths) for clip in clips)
    torch.testing.assert_close(packed, padded, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("method", ["siglip", "clip_catlip"])
def test_every_method_with_a_text_tower_can_leave_out_padding(method) -> None:
    padded, packed = (loss_and_gradients(each.double(), [3, 9, 5]) for each in both_ways(method))
    torch.testing.assert_close(packed, padded, rtol=1e-9, atol=1e-11)


def test_compiled_blocks_without_padding_have_one_graph_for_all_lengths(counted) -> None:
    padded, packed = (clip.double() for clip in both_ways())
    compile_blocks(packed.text_encoder)
    for lengths in ([3, 9, 5], [4, 4, 7, 2], [CONTEXT, 3, 3, 8, 2]):
        found = [loss_and_gradients(each, lengths) for each in (packed, padded)]
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)
    assert counted["unique_graphs"] == 1


@pytest.mark.parametrize(("method", "has_text"), [("siglip", True), ("superclass", False)])
def test_training_leaves_out_padding_if_told_so(method, has_text, tmp_path) -> None:
    config = PretrainBaseline(
        STARTER, ("0.tar",), tmp_path / "run", method=method, packed_captions=True
    )
    if not has_text:
        with pytest.raises(InputError, match="--packed-captions: SuperClass"):
            method_of(config)
        return
    objective = method_of(config).build()
    seen = []
    block = objective.text_encoder.transformer.resblocks[0]
    block.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    batch = methods.synthetic_batch(Factors("catlip", "hybrid_mini", 48, 3, num_classes=5), seed=0)
    objective(replace(batch, tokens=captions([3, 9, 5]), lengths=[3, 9, 5]))
    assert seen == [(3 + 9 + 5, objective.text.width)]


def build(method: str) -> Objective:
    return methods.build(Factors(method, "hybrid_mini", 32, num_classes=5, seed=0))


OCCUR = torch.zeros(TEXT_VOCABULARY, dtype=torch.bool).scatter(
    0, torch.tensor([3, 5, 40_000]), True
)
SHARED = 6  # after the rows of padding, the three tokens, START and END


def test_each_token_that_occurs_has_a_row_and_all_others_share_one() -> None:
    rows = rows_of_tokens(OCCUR)
    assert rows[[0, 3, 5, 40_000, START, END]].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows[[1, 4, 6, START - 1]].tolist() == [SHARED] * 4
    every = rows_of_tokens(torch.ones_like(OCCUR))
    assert torch.equal(every, torch.arange(TEXT_VOCABULARY, dtype=torch.int32))


@pytest.mark.parametrize("method", ["clip", "clip_bag", "clip_catlip"])
def test_training_without_unread_rows_is_the_same_to_the_bit(method) -> None:
    recipe = replace(STARTER, weight_decay=0.3, grad_clip=0.5, ema_rising=True)
    tokens = torch.tensor([[START, 3, 5, 40_000, END, 0], [START, 5, END, 0, 0, 0]] * 2)
    batch = methods.synthetic_batch(Factors("catlip", "hybrid_mini", 32, 4, num_classes=5), seed=0)
    batch = replace(batch, tokens=F.pad(tokens, (0, CONTEXT - 6)), lengths=[5, 3] * 2)
    weights = []
    for is_whole in (True, False):
        objective = methods.build(Factors(method, "hybrid_mini", 32, num_classes=5))
        if not is_whole:
            objective.share_rows(rows_of_tokens(OCCUR))
        trainer = Trainer(objective, recipe, 12, rank=init_distributed("cpu"))
        steps = [trainer.train_step(repeat(batch)) for _ in range(12)]
        assert all(step.grad_norm > 0.5 for step in steps[:6])  # which are clipped
        weights += [objective.state_dict(), trainer.weights()]
    for whole, few in zip(weights[:2], weights[2:], strict=True):
        (rows,) = {*few} - {*whole}
        table = rows.replace("rows", "weight")
        assert len(few[table]) == SHARED + 1
        read = few[rows] != SHARED
        torch.testing.assert_close(whole[table][read], few[table][few[rows][read]], rtol=0, atol=0)
        for name in whole.keys() - {table}:
            assert torch.equal(whole[name], few[name]), name
    packed = deepcopy(objective)
    packed.pack_captions()
    torch.testing.assert_close(packed(batch), objective(batch))


@pytest.mark.parametrize("method", ["clip", "clip_bag"])
def test_run_drops_unread_rows_unless_it_was_begun_with_them(
    method, tmp_path, small_shards, monkeypatch
) -> None:
    recipe = replace(
        STARTER, encoder="hybrid_micro", epochs=0, iterations=4, micro_batch=4, text_context=9
    )
    common = {"method": method, "device": "cpu", "quiet": True, "num_workers": 0}
    run = PretrainBaseline(recipe, (str(small_shards),), tmp_path / "new", **common)

    def rows_of(run: PretrainBaseline) -> int:
        pretrain(run, method_of(run))
        weights, config = read_file(run.out / "weights.safetensors")
        table = "0.weight" if method == "clip_bag" else "token_embedding.weight"
        count = len(weights[f"text_encoder.{table}"])
        assert config.get("tokens", TEXT_VOCABULARY - 1) == count - 1
        encoder = load_encoder(str(run.out), 0, torch.device("cpu"))
        towers = towers_of(encoder, str(run.out))
        assert towers.embed(towers.tokenize(["noise", "words of no caption"])).isfinite().all()
        return count

    noise = len({*CaptionTokenizer(9)(["noise"]).flatten().tolist()})
    assert rows_of(run) == noise + 1
    older = replace(run, out=tmp_path / "older")
    pretrain(older, replace(method_of(older), fit=lambda objective, shards: {}))
    assert rows_of(older) == TEXT_VOCABULARY  # it is finished
    (older.out / "weights.safetensors").unlink()
    assert rows_of(older) == TEXT_VOCABULARY  # it goes on from its checkpoint
    monkeypatch.setattr(subwords, "MAX_COUNTED", 23)  # of 24 captions
    assert rows_of(replace(run, out=tmp_path / "many")) == TEXT_VOCABULARY
    assert rows_of(run) == noise + 1  # as it was begun
