"""The self-check passes where a device is right, and what is wrong is in the record."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from baselines import openclip
from bench.measuring.deadline import time_limit
from bench.self_check import measure
from bench.self_check.config import SelfCheck
from bench.self_check.result import Check
from catlip.cli import InputError
from catlip.training import parallel

pytestmark = pytest.mark.usefixtures("vit_mini16")
SMALL = SelfCheck(
    "vit_mini16", resolution=32, num_classes=50, batch_size=4, device="cpu", quiet=True
)
METHODS = ("catlip", "clip")


def checks_in(folder: Path) -> dict[str, Any]:
    (path,) = folder.iterdir()
    return json.loads(path.read_text())["metrics"]["checks"]


def test_sharded_blocks_in_16_bits_are_nearly_as_exact_as_autocast(tmp_path) -> None:
    measure.main(replace(SMALL, precision="bf16", methods=METHODS, out=tmp_path))
    checks = checks_in(tmp_path)
    assert checks.keys() == {*METHODS, "clip:packed"}
    for ways in checks.values():
        assert ways["eager"]["passed"]
        assert ways["FSDP2"]["passed"]
        for part, error in ways["eager"]["gradient_errors"].items():
            assert error > 1e-3
            assert ways["FSDP2"]["gradient_errors"][part] < 2 * error
    assert not dist.is_initialized()  # a step would exchange with nobody


@pytest.mark.parametrize(
    ("precision", "methods", "count"), [("fp32", SMALL.methods, 12), ("fp16", ("siglip",), 4)]
)
def test_right_device_passes(tmp_path, precision, methods, count) -> None:
    measure.main(replace(SMALL, precision=precision, methods=methods, out=tmp_path))
    checks = [check for ways in checks_in(tmp_path).values() for check in ways.values()]
    assert len(checks) == count
    assert max(check["loss_error"] for check in checks) < (1e-6 if precision == "fp32" else 1e-3)


@pytest.mark.parametrize("passed", [True, False])
def test_stop_keeps_the_checks_that_are_done_and_hides_no_failure(monkeypatch, tmp_path, passed):
    made, done = [Check(passed=passed)] * 4, dict[str, list[str]]()

    def check(*_: object) -> Check:
        if not made:  # the partial record is there if it is killed now
            done.update({variant: [*ways] for variant, ways in checks_in(tmp_path).items()})
            raise KeyboardInterrupt
        return made.pop()

    monkeypatch.setattr(measure, "check", check)
    with pytest.raises(KeyboardInterrupt if passed else InputError):
        measure.main(replace(SMALL, methods=METHODS, out=tmp_path))
    assert done == {"catlip": ["eager", "FSDP2"], "clip": ["eager"], "clip:packed": ["eager"]}


def test_checks_for_which_there_is_no_time_are_no_failure(tmp_path, capsys) -> None:
    with time_limit(0):
        measure.main(replace(SMALL, methods=METHODS, out=tmp_path))
    assert "out of time after 0 of 6" in capsys.readouterr().out


def test_what_is_wrong_fails_and_is_in_the_record(monkeypatch, tmp_path) -> None:
    right = openclip.pack

    def shifted(*captions: Any) -> openclip.PackedCaptions:
        packed = right(*captions)
        return packed._replace(positions=packed.positions.roll(1))

    def unsharded(*modules: object, **options: object) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(openclip, "pack", shifted)
    monkeypatch.setattr(parallel, "fully_shard", unsharded)
    with pytest.raises(InputError, match="self-check"):
        measure.main(replace(SMALL, methods=METHODS, out=tmp_path))
    checks = checks_in(tmp_path)
    passed = {method for method in checks if checks[method]["eager"]["passed"]}
    assert passed == {"catlip", "clip"}
    assert checks["clip:packed"]["eager"]["gradient_errors"]["text_tower"] > 0.01
    for ways in checks.values():
        assert not ways["FSDP2"]["passed"]
        assert "illegal memory access" in ways["FSDP2"]["error"]
