"""What compiling takes and saves, and that one without the other is not said."""

import pytest

from bench.step_time.compiling_result import CompiledSize, Compiling, when_it_pays
from catlip.results.kind import Interval, Summary
from catlip.results.run import Config, Environment, Run


def compiling(low: float, *, compiled_ms: float = 80.0) -> Compiling:
    """Two sizes that take 10 and 30 s to compile."""
    ratio = Interval(100 / compiled_ms, low, low + 0.2)
    sizes = [
        CompiledSize(
            resolution=resolution,
            batch_size=4,
            compile_s=seconds,
            eager_ms=Summary(100.0),
            compiled_ms=Summary(compiled_ms),
            ratio=ratio,
        )
        for resolution, seconds in ((64, 10.0), (128, 30.0))
    ]
    return Compiling(image_sizes=sizes, ratio=ratio)


def test_compiling_pays_when_what_steps_save_is_what_it_took() -> None:
    measured = compiling(1.1)
    assert measured.compile_s == 40
    assert measured.pays_after == pytest.approx(2_000)  # of 20 ms each


@pytest.mark.parametrize(
    "measured", [compiling(0.99), compiling(1.1, compiled_ms=101.0)], ids=["unsure", "slower"]
)
def test_what_saves_nothing_for_certain_never_pays(measured: Compiling) -> None:
    assert measured.pays_after is None


@pytest.mark.parametrize(("rounds", "is_said"), [(6, True), (5, False)])
def test_after_how_many_steps_it_pays_is_said_of_rounds_enough(rounds: int, is_said: bool) -> None:
    samples = {"64_px_eager_ms": [100.0] * rounds}
    run = Run(
        name="tiny",
        measured=compiling(1.1),
        setup=Config(model="vit_tiny16"),
        machine=Environment(),
        samples=samples,
    )
    assert ("2,000" in when_it_pays([run])) is is_said
