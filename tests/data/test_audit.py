"""The audit of the sampler counts what is missing and doubled, and says what ranks change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catlip.data.audit import Layout, crossings, epochs_seen, moved
from catlip.data.audit.__main__ import AuditSampler, main
from catlip.data.sampler import ImageSize, SampleOrder, Step, StepPlan

SIZES = [ImageSize(16, 6), ImageSize(24, 3)]
SMALL = {"samples": 70, "samples_per_shard": 20, "micro_batch": 4, "iterations": 10}


def layout(ranks: int, devices: int = 4, num_steps: int = 30) -> Layout:
    return Layout(StepPlan(SIZES, devices, num_steps, seed=0), ranks, devices // ranks)


@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any),
    ranks=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 3),
)
@settings(max_examples=40)
def test_no_epoch_of_the_real_sampler_lacks_or_repeats_a_sample(counts, ranks, seed) -> None:
    here, order = layout(ranks), SampleOrder(counts, seed, window=2)
    epochs = epochs_seen(here, order, most=10**6)
    assert sum(epoch.planned for epoch in epochs) == here.plan.starts[-1]
    assert not any(epoch.missing or epoch.doubled for epoch in epochs)


def test_a_rank_that_takes_another_s_samples_is_found(monkeypatch) -> None:
    real = Step.begins

    def shifted(step: Step, micro_steps: int, ranks: int) -> np.ndarray:
        begins = real(step, micro_steps, ranks)
        if step.start > 0:
            begins[0, 1] -= 1
        return begins

    monkeypatch.setattr(Step, "begins", shifted)
    order = SampleOrder([50, 50, 50], seed=0)
    (epoch, *_) = epochs_seen(layout(2), order, most=1)
    assert epoch.missing == epoch.doubled > 0
    assert len(epoch.examples) == 6


def test_an_order_that_repeats_a_sample_is_found(monkeypatch) -> None:
    order = SampleOrder([20, 20], seed=0)
    real = SampleOrder.__call__

    def repeating(order: SampleOrder, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shards, numbers = real(order, positions)
        return shards, np.where((shards == 1) & (numbers == 7), 8, numbers)

    monkeypatch.setattr(SampleOrder, "__call__", repeating)
    (epoch,) = epochs_seen(layout(2), order, most=1)
    assert (epoch.missing, epoch.doubled, epoch.examples) == (1, 1, ("1:8", "1:7"))


def test_ranks_move_samples_between_ranks_and_devices_between_steps() -> None:
    assert moved(layout(4), layout(4), 100).rank == 0
    fewer = moved(layout(4), layout(2), 100_000)
    assert (fewer.step, fewer.rank) == (0, 0.5)
    other_batch = moved(layout(4), layout(8, devices=8), 100_000)
    assert other_batch.step > 0.8


def test_a_step_across_the_end_of_an_epoch_is_counted_with_what_it_repeats() -> None:
    plan = StepPlan([ImageSize(16, 8)], 1, 3, seed=0)
    across = crossings(plan, SampleOrder([10], seed=0))
    assert (across.count, across.first, across.of_next) == (2, 1, 6)
    assert 0 <= across.repeated <= 2
    whole = crossings(plan, SampleOrder([24], seed=0))
    assert (whole.count, whole.first) == (0, None)
    several = crossings(plan, SampleOrder([4], seed=0))
    assert (several.count, several.repeated) == (3, 4)


def test_the_program_shows_all_rows_of_a_small_run_and_the_ends_of_a_large_one(capsys) -> None:
    main(AuditSampler("starter", ranks=2, num_devices=2, **SMALL))
    small = capsys.readouterr().out
    assert "1.1429 epochs" in small
    assert "rows" not in small
    main(AuditSampler("datacomp_b16", ranks=64, samples=100_000, check_epochs=1))
    large = capsys.readouterr().out
    assert "... 12,799,984 rows" in large
    assert "199,999" in large
    main(AuditSampler("datacomp_b16", ranks=64, samples=100_000, check_epochs=1, step=7))
    assert capsys.readouterr().out.count("\n7 ") == 64


def test_the_program_ends_with_1_if_a_sample_is_missing(monkeypatch, capsys) -> None:
    real = Step.begins
    monkeypatch.setattr(Step, "begins", lambda step, *layout: real(step, *layout)[:, ::-1] // 2 * 2)
    main(AuditSampler("starter", ranks=2, num_devices=2, **SMALL))  # another order is no fault
    monkeypatch.setattr(Step, "begins", lambda step, *layout: real(step, *layout) * 0)
    with pytest.raises(SystemExit) as end:
        main(AuditSampler("starter", ranks=2, num_devices=2, **SMALL))
    assert end.value.code == 1
    assert "missing or doubled" in capsys.readouterr().err
