"""The record of a run says which kernel of scaled-dot-product attention ran."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from catlip.record import Record
from catlip.training.attention import watched


class Attention(nn.Module):
    """Bare attention."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    ("backends", "kernel"),
    [([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], "flash"), ([SDPBackend.MATH], "math")],
)
def test_the_kernel_is_the_one_that_was_chosen(tmp_path: Path, backends, kernel, inference) -> None:
    tokens, attention = torch.randn(2, 3, 5, 8, requires_grad=True), Attention()
    with (
        Record(tmp_path / "name.json", "kind", {}) as record,
        torch.inference_mode(inference),
        sdpa_kernel(backends),
    ):
        plain = attention(tokens)
        with watched(attention):
            seen = attention(tokens)
    assert json.loads(record.path.read_text())["environment"]["attention"] == kernel
    assert torch.equal(plain, seen)
