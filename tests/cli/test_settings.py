"""Where a command looks: options, the environment, a configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from quotaware.cli.failures import USAGE, Failure
from quotaware.cli.settings import Settings, of_environment, settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment whose own configuration is empty, in an empty directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "quotaware").mkdir()
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def test_an_option_wins_over_the_environment_and_that_over_the_file(home: dict[str, str]) -> None:
    Path("quotaware.toml").write_text('store = "sqlite:///file.db"\norganization = "file"\ntimeout = 3\n')
    environ = {**home, "QUOTAWARE_STORE": "sqlite:///environment.db", "QUOTAWARE_TIMEOUT": "2"}
    found = settings(Settings(store="sqlite:///option.db"), None, environ)
    assert (found.store, found.organization, found.timeout) == ("sqlite:///option.db", "file", 2.0)
    assert settings(Settings(), None, environ).store == "sqlite:///environment.db"
    assert settings(Settings(), None, home).store == "sqlite:///file.db"


def test_who_names_a_store_is_not_led_to_the_url_of_the_file(home: dict[str, str]) -> None:
    Path("quotaware.toml").write_text('url = "https://app.example/v1"\n')
    found = settings(Settings(store="sqlite:///quota.db"), None, home)
    assert (found.url, found.store) == (None, "sqlite:///quota.db")


def test_the_key_of_the_users_own_file_never_goes_to_the_url_of_a_directory(
    home: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "quotaware" / "config.toml").write_text('url = "https://mine.example"\nkey = "qw_mine"\n')
    assert settings(Settings(), None, home).key == "qw_mine"
    Path("quotaware.toml").write_text('url = "https://theirs.example"\n')
    found = settings(Settings(), None, home)
    assert (found.url, found.key) == ("https://theirs.example", None)


def test_a_file_is_named_by_option_or_environment(home: dict[str, str]) -> None:
    Path("quotaware.toml").write_text('organization = "here"\n')
    Path("other.toml").write_text('organization = "other"\n')
    assert settings(Settings(), "other.toml", home).organization == "other"
    assert settings(Settings(), None, {**home, "QUOTAWARE_CONFIG": "other.toml"}).organization == "other"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('urll = "x"', "quotaware.toml: urll is nothing that is known"),
        ("url = 3", "quotaware.toml: url is text"),
        ("timeout = 0", "quotaware.toml: timeout is a number of seconds above 0"),
        ("timeout = true", "quotaware.toml: timeout is a number of seconds above 0"),
        ("url = ", "quotaware.toml is no TOML"),
        ('url = "x"\nstore = "y"', "Give a URL or a store, not both"),
    ],
)
def test_a_mistake_in_the_file_is_named(home: dict[str, str], text: str, told: str) -> None:
    Path("quotaware.toml").write_text(text)
    with pytest.raises(Failure, match=told) as failed:
        settings(Settings(), None, home)
    assert failed.value.code == USAGE


def test_a_file_that_is_named_must_be_there(home: dict[str, str]) -> None:
    with pytest.raises(Failure, match=r"There is no configuration file gone\.toml"):
        settings(Settings(), "gone.toml", home)


def test_a_mistake_in_the_environment_is_named() -> None:
    with pytest.raises(Failure, match="QUOTAWARE_TIMEOUT is a number"):
        of_environment({"QUOTAWARE_TIMEOUT": "soon"})


def test_what_may_be_secret_is_in_no_repr() -> None:
    told = repr(Settings(key="qw_live_secret", store="redis://:password@host"))
    assert "secret" not in told
    assert "password" not in told
