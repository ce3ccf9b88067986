"""Reads the index of a sharded checkpoint without letting it run code.

torch.distributed.checkpoint stores its index as a pickle, which may import and call anything. A
trainer's state holds only tensors, so its index needs a dozen names. Every other import is refused,
and with it every entry that is a pickle.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader, Metadata
from torch.distributed.checkpoint.metadata import StorageMeta

from catlip.cli import InputError

_HERE = "torch.distributed.checkpoint"
ADMITTED = {
    f"{_HERE}.metadata.Metadata",
    f"{_HERE}.metadata.MetadataIndex",
    f"{_HERE}.metadata.StorageMeta",
    f"{_HERE}.metadata.TensorProperties",
    f"{_HERE}.metadata.TensorStorageMetadata",
    f"{_HERE}.metadata.ChunkStorageMetadata",
    f"{_HERE}.metadata._MEM_FORMAT_ENCODING",
    f"{_HERE}.filesystem._StorageInfo",
    "torch.serialization._get_layout",
    "torch.Size",
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",  # where Python 3.13 keeps it
    *(str(value) for value in vars(torch).values() if isinstance(value, torch.dtype)),
}


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in ADMITTED:
            raise InputError(
                f"its index wants to import {module}.{name}; a genuine one holds only tensors"
            )
        return super().find_class(module, name)


class PlainMetadataReader(FileSystemReader):
    """torch's reader of a checkpoint folder, which reads the index with only ADMITTED imports."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The index.

        Raises: InputError when it is damaged, or imports anything that an index of tensors does not
            need.
        """
        path = Path(self.path)
        try:
            with open(path / ".metadata", "rb") as file:
                metadata = _IndexUnpickler(file).load()
        except Exception as error:  # a damaged pickle can raise nearly anything
            raise InputError(f"{path} cannot be read ({error})") from error
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata
