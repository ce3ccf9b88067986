"""A record: one run of any program, as one JSON file.

    with Record(path, kind=Memory, config=config) as record:
        record.samples["peak_gib"] = [...]
        record.finish(Memory(model="vit_b16", ...))

During the run there is a partial record, `NAME.json.partial`. If the block ends without an error,
the record is written atomically and the partial is deleted; otherwise the partial stays, and is
reported as incomplete. A long run calls `record.save()` after each part, so that the partial has it
even if the run is killed. A command that is refused before it has begun to work leaves no partial.
"""

import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from catlip.cli import InputError, module_name
from catlip.records import claims, styles
from catlip.records.kind import OMIT_DEFAULT as OMIT_DEFAULT
from catlip.records.kind import Kind
from catlip.records.kind import plain as plain
from catlip.records.run import Run, read_run
from catlip.system.card import card_state
from catlip.system.files import write_atomically
from catlip.system.foreign import read_json
from catlip.system.machine import Usage, processors

SCHEMA = 1
_NUMBERS = re.compile(r'\[(\n[^\[\]{}"]+)\]')
K = TypeVar("K", bound=Kind)
T = TypeVar("T")
PACKAGES = (
    *("torch", "torchvision", "timm", "open-clip-torch", "numpy", "pillow", "simplejpeg", "nltk"),
    *("mmsegmentation", "detectron2"),
)
_making: list["Record"] = []  # records whose `with` blocks have not ended, the innermost last


class Record:
    """A run's config, environment, metrics and raw samples; the name is the stem of the path.

    Attributes:
        samples: name -> list of raw values (per step, per seed).
        notes: sentences a reader of the numbers must know.
        begun: whether the run has begun to work, so that the partial stays if it fails.
        attention: kernels of scaled-dot-product attention that ran.
    """

    def __init__(self, path: Path, kind: str | type[Kind], config: Any, command: str = ""):
        if path.suffix != ".json":
            raise InputError(f"the name of a record must end in .json: {path}")
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self.metrics: dict[str, Any] = {}
        self.samples: dict[str, list[Any]] = {}
        self.notes: list[str] = []
        self.begun = False
        self.attention: set[str] = set()
        self.environment = environment()
        self._head = {
            "schema": SCHEMA,
            "kind": kind if isinstance(kind, str) else kind.kind,
            "name": path.stem,
            "command": command or command_line(),
            "config": plain(config),
            "environment": self.environment,
        }

    def __enter__(self) -> "Record":
        self._note_card("start")
        self._usage = Usage()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._had_partial = self.partial.exists()  # of an earlier run
        if not self._had_partial:
            self._write(self.partial)
        _making.append(self)
        return self

    def finish(self, metrics: K) -> Run[K]:
        """Store the metrics, and return the run in the form that the tables of its kind take."""
        self.metrics = metrics.as_dict()
        if self in _making:
            self.environment |= self._usage.so_far()
            self._note_card("end")
        return read_run(plain(self._body()), type(metrics))

    def save(self) -> None:
        """Write the partial with all metrics and samples so far; only inside the `with` block."""
        if self in _making:
            self.begun = True
            self._write(self.partial)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        _making.remove(self)
        self.environment |= self._usage.so_far()
        if torch := sys.modules.get("torch"):
            # A training chooses its number of threads when it starts.
            self.environment["threads"] = torch.get_num_threads()
        if self.attention:
            self.environment["attention"] = "+".join(sorted(self.attention))
        refused = isinstance(error, InputError | OSError) and not self.begun
        if error is None:
            self._write(self.path)
        elif not refused:
            self._write(self.partial)
        if error is None or (refused and not self._had_partial):
            self.partial.unlink(missing_ok=True)

    def _note_card(self, when: str) -> None:
        on_cpu = self._head["config"].get("device") == "cpu"
        if not on_cpu and (state := card_state()):
            self.environment.setdefault("card", {})[when] = state

    def _write(self, path: Path) -> None:
        write_atomically(path, text_of(plain(self._body())).encode())

    def _body(self) -> dict[str, Any]:
        shown_as = styles.stated_by(self._head["config"], self.metrics)
        return self._head | {
            "metrics": self.metrics,
            "samples": self.samples,
            "notes": self.notes,
            **({"shown_as": shown_as} if shown_as else {}),
        }


def text_of(body: Mapping[str, Any]) -> str:
    """A record's JSON, a value a line, but a list of numbers on one."""
    text = json.dumps(body, indent=1, allow_nan=True) + "\n"
    # No string of JSON has a line break of its own, so that this is never within one.
    return _NUMBERS.sub(lambda numbers: f"[{' '.join(numbers[1].split())}]", text)


def command_line() -> str:
    return shlex.join([*module_name().split(), *sys.argv[1:]])


def note_beside(trainings: int) -> None:
    """Note how many other trainings share this one's device, and so are part of its times."""
    if _making and trainings:
        _making[-1].environment["beside"] = trainings


def note_attention(kernels: Iterable[str]) -> None:
    if _making:
        _making[-1].attention.update(kernels)


def note_data(digests: Mapping[str, Mapping[str, Any]]) -> None:
    """Note what the run reads: split or task -> its digest and edition."""
    if _making:
        _making[-1].environment.setdefault("data", {}).update(digests)


def note_samples(samples: Mapping[str, Iterable[Any]]) -> None:
    """Add raw samples to those that the record has."""
    if _making:
        for name, values in samples.items():
            _making[-1].samples.setdefault(name, []).extend(values)


def note_begun() -> None:
    """The run of the record has begun to work: if it fails from now on, the partial stays."""
    if _making:
        _making[-1].begun = True


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add `path` to an OSError that names no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def from_plain(value: Any, of: type[T]) -> T:
    """The dataclass that `plain` converted, without unknown fields. Raises: InputError."""
    try:
        return msgspec.convert(value, of, dec_hook=lambda kind, text: kind(text))
    except msgspec.ValidationError as error:
        raise InputError(f"not the config of this program: {error}") from None


def build_name(device: Any) -> str:
    """torch's version and the card, for the name of a record: `torch2.15.0-h100-80gb-hbm3`."""
    name = device.type
    if name == "cuda":
        import torch

        card = torch.cuda.get_device_name(device)
        name = re.sub(r"[^a-z0-9]+", "-", card.lower().removeprefix("nvidia ")).strip("-")
    return f"torch{importlib.metadata.version('torch').split('+')[0]}-{name}"


def read_record(path: Path) -> dict[str, Any]:
    """A record as JSON. Raises: InputError if it is none, OSError."""
    return dict(read_json(path, kind=str, metrics=dict))


def host_memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def environment() -> dict[str, Any]:
    """Machine, device, versions and code revision; nothing identifies a person or a host."""
    cpu = _cpu()
    described: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu,
        "cpu_count": processors(),
        "host_memory_gib": round(host_memory() / 2**30, 1),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        **_revision(),
        "rules": claims.digest(),
        "device": cpu,
        "device_count": 1,
    }
    return described | (_torch_environment() if "torch" in sys.modules else {})


def _torch_environment() -> dict[str, Any]:
    import torch

    described: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if torch.cuda.is_available():
        described |= {
            "device": torch.cuda.get_device_name(),
            "device_count": torch.cuda.device_count(),
            "device_memory_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "nccl": ".".join(map(str, torch.cuda.nccl.version())),
            "multi_process_service": "CUDA_MPS_PIPE_DIRECTORY" in os.environ,
            "driver": _output(
                "nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"
            ),
        }
    return described


def _revision() -> dict[str, Any]:
    here = str(Path(__file__).parent)
    # An installed package may lie in someone else's repository.
    if not _output("git", "-C", here, "ls-files", Path(__file__).name):
        return {"revision": "unknown", "dirty": False}
    revision = _output("git", "-C", here, "rev-parse", "--short=12", "HEAD")
    # Without git's lock: if the timeout killed git, the lock would stay, and block every later
    # commit.
    status = ("status", "--porcelain", "--untracked-files=no")
    changed = _output("git", "--no-optional-locks", "-C", here, *status)
    return {"revision": revision or "unknown", "dirty": bool(changed)}


def _version(package: str) -> str | None:
    for name in (package, f"onedl-{package}", f"sal-{package}"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _cpu() -> str:
    """The name of the processor, with its family and model if the name has no number, as virtual
    machines give processors of several generations one name, such as "AMD EPYC".
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    values = {key.strip(): value.strip() for key, _, value in (s.partition(":") for s in lines)}
    name = values.get("model name", "unknown CPU")
    if "model" not in values or any(map(str.isdigit, name)):
        return name
    return f"{name}, family {values['cpu family']}, model {values['model']}"


def _output(*command: str) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
