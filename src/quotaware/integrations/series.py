"""How many series a process's metrics are at most, whoever calls and whatever they ask for."""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple

from .. import forks
from ..observing import Place

MODELS = 1000
"""Names of models that are told apart."""
SERIES = 5000
"""Combinations of organization, project, provider and model that are told apart."""
OTHER = "(other)"
NONE = ""
"""Where there is no project, or nobody knows the provider or the model."""


class Labels(NamedTuple):
    """What a series is of."""

    organization: str
    project: str
    provider: str
    model: str


REST = Labels(OTHER, OTHER, OTHER, OTHER)


class Series:
    """The series that there are. A model's name becomes one when a provider has answered a call for it: names that
    were only asked for are `(other)`, so that a flood of them makes none.
    """

    def __init__(self, models: int = MODELS, series: int = SERIES) -> None:
        self._most_models = models
        self._most = series
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: none yet."""
        self._lock = Lock()
        self._models: set[tuple[str, str]] = set()
        self._series: set[Labels] = set()

    def of(self, place: Place, provider: str | None, model: str | None, *, answered: bool) -> Labels:
        """The series of a call; `answered`: whether its provider has served it."""
        named = (provider or NONE, model or NONE)
        labels = Labels(place.organization, place.project or NONE, *named)
        if answered and labels in self._series:
            return labels
        with self._lock:
            if answered and len(self._models) < self._most_models:
                self._models.add(named)
            if model is not None and named not in self._models:
                labels = labels._replace(model=OTHER)
            if labels not in self._series:
                if len(self._series) >= self._most:
                    return REST
                self._series.add(labels)
        return labels

    def name(self, provider: str | None, model: str | None) -> str | None:
        """A model's name as an answer gives it, where it is one of those that are told apart."""
        if model is None or (provider or NONE, model) in self._models:
            return model
        with self._lock:
            if len(self._models) < self._most_models:
                self._models.add((provider or NONE, model))
                return model
        return OTHER
