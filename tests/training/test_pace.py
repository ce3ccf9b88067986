"""Checkpoints are where the user says, and otherwise as often as they cost little."""

import time

from catlip.training.saving.pace import MOST_SHARE, USUAL_STEPS, CheckpointPace


def due(pace: CheckpointPace) -> list[int]:
    return [step for step in range(1, 1_001) if pace.is_due(step)]


def test_what_the_user_says_counts_however_long_a_checkpoint_takes() -> None:
    assert due(CheckpointPace(300, took_s=1e6)) == [300, 600, 900]


def test_a_quick_checkpoint_is_written_every_200_steps() -> None:
    assert due(CheckpointPace(None)) == list(range(USUAL_STEPS, 1_001, USUAL_STEPS))


def test_a_slow_one_waits_until_it_is_a_small_part_of_the_time() -> None:
    now, took_s = time.monotonic(), 10.0
    early = CheckpointPace(None, took_s=took_s, ended=now - took_s / MOST_SHARE + 60)
    late = CheckpointPace(None, took_s=took_s, ended=now - took_s / MOST_SHARE)
    assert due(early) == []
    assert due(late)[0] == USUAL_STEPS
    assert all(early.may_be_due(step) for step in (200, 400))  # so that all logs have these lines


def test_the_last_one_says_how_long_the_next_may_take() -> None:
    pace = CheckpointPace(None)
    pace.begins()
    assert due(pace) == []  # while it is written
    pace.began -= 100
    pace.ends()
    assert pace.took_s >= 100
    assert due(pace) == []


def test_after_so_many_minutes_one_is_overdue_and_steps_no_longer_count() -> None:
    pace = CheckpointPace(None, minutes=10, ended=time.monotonic() - 600)
    assert pace.is_overdue()
    assert due(pace) == []
    pace.begins()
    assert not pace.is_overdue()
    pace.ends()
    assert not pace.is_overdue()
    assert not CheckpointPace(200, ended=0.0).is_overdue()
