"""Writes the file of the weights to transfer."""

import errno
import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save_weights(path: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write weights as safetensors, atomically, with the config that made them as metadata.

    Raises: OSError when they cannot be written whole.
    """
    temporary = path.with_suffix(".tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a killed run, or a link that would be followed
        temporary.touch()
        # As the user's umask says; a file made by safetensors can be read by its owner only.
        mode = temporary.stat().st_mode
        save_file(
            {name: tensor.contiguous() for name, tensor in weights.items()},
            temporary,
            {"config": json.dumps(config)},
        )
        temporary.chmod(mode)
        temporary.replace(path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
