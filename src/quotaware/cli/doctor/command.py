"""The command: gathers what there is to look at, has it examined, and prints what was found."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated

import typer
from rich.text import Text

from ...tenancy.access import Actor
from ..client import local, organization_of, over, patient, remote
from ..failures import FOUND, Failure
from ..session import Session
from . import stores
from .apps import layers_of, load, quota_of
from .checks import CHECKS, Outcome, examine
from .findings import Evidence, NotLooked

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "skipped": "dim"}

Target = Annotated[
    str | None,
    typer.Argument(help="The app, as for uvicorn: module:app.", metavar="[MODULE:APP]", show_default=False),
]
Workers = Annotated[
    int | None,
    typer.Option(help="How many processes the app runs in, where the environment does not say.", min=1),
]
Days = Annotated[int, typer.Option(help="Tell of keys that end within so many days.", min=1)]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")]


def doctor(
    to: Session, target: Target = None, workers: Workers = None, days: Days = 14, strict: Strict = False
) -> int | None:
    """Look for what usually goes wrong, and say what to do. Exits with 1 where something is."""
    outcomes: list[Outcome] = []
    with ExitStack() as life:
        if not to.out.json:
            life.callback(tell, to, outcomes)  # also where it was broken off
        evidence = gather(to, target, workers, days, life)
        told = life.enter_context(to.out.progress("Looking at", len(CHECKS)))
        for check in CHECKS:
            told(len(outcomes), len(CHECKS), check.name)
            outcomes.append(examine(check, evidence))
    errors, warnings = (
        sum(finding.level == level for outcome in outcomes for finding in outcome.findings)
        for level in ("error", "warning")
    )
    if to.out.json:
        to.out.data({"checks": [each.told() for each in outcomes], "errors": errors, "warnings": warnings})
    else:
        skipped = sum(outcome.state == "skipped" for outcome in outcomes)
        to.out.aside(f"errors: {errors}, warnings: {warnings}, checks skipped: {skipped}")
    return FOUND if errors or (strict and warnings) else None


def gather(to: Session, target: str | None, workers: int | None, days: int, life: ExitStack) -> Evidence:
    """What there is to look at, until `life` ends: the app that `target` names, and what the settings name. Raises
    Failure where that is nothing that could be looked at.
    """
    settings = to.settings
    evidence = Evidence(settings=settings, environ=os.environ, workers=workers, days=days)
    if target is not None:
        layers = layers_of(load(target))
        quota = quota_of(layers)
        evidence = replace(
            evidence, layers=layers, quota=quota, why="the app has no Quota that could be asked"
        )
        if quota is not None:
            life.callback(quota.close)
            evidence = replace(evidence, store=quota.store)
    elif settings.store is not None:
        store = patient(settings.store)
        life.callback(store.close)
        evidence = replace(evidence, store=store)
    return _with_api(evidence, life)


def _with_api(evidence: Evidence, life: ExitStack) -> Evidence:
    settings, quota = evidence.settings, evidence.quota
    if settings.url is not None:
        api = remote(settings.url, settings.key, settings.timeout)
    elif evidence.store is None:
        return evidence
    elif _broken(evidence):
        return replace(evidence, why="the store cannot be used")
    else:
        try:
            if quota is None:
                api = local(settings)
            else:
                api = over(
                    quota, Actor("host", org=organization_of(quota, settings.organization)), ExitStack()
                )
        except Failure as failure:
            return replace(evidence, why=str(failure))
    life.callback(api.close)
    return replace(evidence, api=api)


def _broken(evidence: Evidence) -> bool:
    """Whether the store is better left alone."""
    try:
        return any(finding.level == "error" for finding in stores.set_up(evidence))
    except NotLooked:
        return True


def tell(to: Session, outcomes: Iterable[Outcome]) -> None:
    """What came of checks, a line each, and below what is wrong what to do."""
    for outcome in outcomes:
        name = outcome.check.name.ljust(11)
        if not outcome.findings:
            state = Text(outcome.state.ljust(8), style=_STYLES[outcome.state])
            to.out.line(state, name, outcome.check.about if outcome.skipped is None else outcome.skipped)
        for level, what, do in outcome.findings:
            to.out.line(Text(level.ljust(8), style=_STYLES[level]), name, what)
            to.out.line(" " * 20, Text("→", style="dim"), do)
