"""A new key's secret: into a file of one's own, or shown."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from quotaware.cli.failures import Failure
from quotaware.cli.secret_files import kept


def test_it_stands_in_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with kept(path) as keep:
        assert path.read_text() == ""  # there before there is a secret
        assert keep("qw_live_x\n")
    assert path.read_text() == "qw_live_x\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("mine")
    with pytest.raises(Failure, match="is there already"), kept(path):
        raise AssertionError
    assert path.read_text() == "mine"


def test_where_none_came_the_file_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(ZeroDivisionError), kept(path):
        raise ZeroDivisionError
    assert not path.exists()


def test_what_could_not_be_written_is_said_to_be_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with kept(tmp_path / "secret") as keep:
        assert not keep("qw_live_x\n")
    assert not (tmp_path / "secret").exists()


def test_without_a_path_nothing_is_kept() -> None:
    with kept(None) as keep:
        assert not keep("qw_live_x\n")
