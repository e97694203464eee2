"""Many processes on one SQLite file: nothing overspent, nothing lost when one is killed, forks with everything open."""

from __future__ import annotations

import pytest

from tests.support import run_module

WORKERS = "tests.stores.sqlite_workers"


@pytest.mark.parametrize(("batch", "offered"), [(1, 2000), (64, 100_000)])
def test_of_what_four_processes_offer_exactly_those_go_that_the_limit_pays_for(tmp_path, batch, offered):
    """I-1, F1: N = 100,000, K = 60,000."""
    cap = offered * 6 // 10
    found = run_module(WORKERS, "exact", str(tmp_path / "q.db"), str(offered), str(cap), str(batch))
    assert int(found) == cap


@pytest.mark.slow
@pytest.mark.parametrize("batch", [16, 256])
def test_of_what_four_processes_offer_in_other_batches_bounded(tmp_path, batch):
    """I-1."""
    found = run_module(WORKERS, "exact", str(tmp_path / "q.db"), "100000", "60000", str(batch))
    assert int(found) == 60_000


def test_a_writer_killed_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path):
    """I-7, F3: 20 kills."""
    assert int(run_module(WORKERS, "kills", str(tmp_path / "q.db"), "20", "1")) > 20


@pytest.mark.slow
def test_a_writer_killed_two_hundred_times_loses_nothing_that_was_acknowledged(tmp_path):
    """I-7, F3: 200 kills."""
    assert int(run_module(WORKERS, "kills", str(tmp_path / "q.db"), "200", "2", timeout=600)) > 200


def test_forks_of_a_process_that_uses_the_store_admit_exactly_what_the_limit_pays_for(tmp_path):
    """I-23: N = 20,000 by a parent and four children, forked while the parent's store thread is at work."""
    assert int(run_module(WORKERS, "preload", str(tmp_path / "q.db"), "20000", "9000")) == 9000


def test_a_fork_that_was_not_announced_opens_a_connection_of_its_own(tmp_path):
    """I-23: a server that forks by itself tells only the child."""
    assert int(run_module(WORKERS, "bare_fork", str(tmp_path / "q.db"))) == 3
