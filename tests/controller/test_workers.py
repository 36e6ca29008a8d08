"""How busy a worker is, as the operator reads it."""

from softdpu.controller.workers import busy


def test_a_share_is_of_the_time_that_was_measured() -> None:
    assert busy(50_000_000, 0.2) == 25.0
    assert busy(0, 0.2) == 0.0


def test_no_worker_is_busier_than_all_the_time() -> None:
    assert busy(250_000_000, 0.2) == 100.0
