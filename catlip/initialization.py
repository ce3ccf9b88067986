"""The initial weights of the release: `--initialization release`.

Its configuration files name other rules, which its code does not apply. The code draws the weights
of all linear layers by Xavier's uniform rule and sets their biases to zero. It draws the class
token and the positions from a normal distribution. Convolutions and norms start as in torch, here
too.
"""

from torch import nn

from catlip.encoder import ImageEncoder

CLASS_TOKEN_STD = 0.02


def encoder_as_release(encoder: ImageEncoder) -> None:
    """Initialise an encoder; the standard deviation of the positions is 1 / sqrt(width)."""
    linear_as_release(encoder)
    if encoder.cls_token is not None:
        nn.init.trunc_normal_(encoder.cls_token, std=CLASS_TOKEN_STD)
    if encoder.pos_embed is not None:
        nn.init.trunc_normal_(encoder.pos_embed, std=encoder.num_features**-0.5)


def linear_as_release(module: nn.Module) -> None:
    """Initialise all linear layers of a module, or the module itself if it is one."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
