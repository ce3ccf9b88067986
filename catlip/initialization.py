"""How the release starts its weights: `--initialization release`.

Its configuration files name other rules, which its code does not apply. What it does: Xavier's
uniform rule for the weights of all linear layers and zero for their biases; the class token and the
positions normal; convolutions and norms as torch starts them, which is how they start here too.
"""

from torch import nn

from catlip.encoder import ImageEncoder

CLASS_TOKEN_STD = 0.02


def encoder_as_release(encoder: ImageEncoder) -> None:
    """Start an encoder anew. Positions are as wide as one over the root of the encoder's width."""
    linear_as_release(encoder)
    if encoder.cls_token is not None:
        nn.init.trunc_normal_(encoder.cls_token, std=CLASS_TOKEN_STD)
    if encoder.pos_embed is not None:
        nn.init.trunc_normal_(encoder.pos_embed, std=encoder.num_features**-0.5)


def linear_as_release(module: nn.Module) -> None:
    """Start all linear layers of a module anew, itself if it is one."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
