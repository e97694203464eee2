"""Patches come and go with their libraries and with the Quotas: whenever they are imported, by whichever thread."""

from __future__ import annotations

import importlib
import importlib.machinery
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quotaware.outbound.hook import Hook
from quotaware.outbound.patching import Patch

LIBRARY = "some_library_of_these_tests"
SOURCE = """
class Client:
    def send(self):
        return "sent"
"""


def patch(owner: str = "Client", name: str = "send") -> Patch:
    def wrap(original: Any, serving: Any) -> Any:
        return lambda client: f"{original(client)} for {serving()}"

    return Patch(LIBRARY, owner, name, wrap)


class Library:
    """A module that is there to be imported."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / f"{LIBRARY}.py"
        self.write(SOURCE)

    def write(self, source: str) -> None:
        self.file.write_text(source)

    def load(self) -> Any:
        return importlib.import_module(LIBRARY)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = list(sys.meta_path)
    yield Library(tmp_path)
    sys.modules.pop(LIBRARY, None)
    assert sys.meta_path == path


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook([patch()])
    yield made
    made.remove("quota")  # type: ignore[arg-type]


def begin(hook: Hook) -> None:
    hook.add("quota")  # type: ignore[arg-type]


def end(hook: Hook) -> None:
    hook.remove("quota")  # type: ignore[arg-type]


def test_a_library_is_patched_before_its_importer_has_it(library: Library, hook: Hook) -> None:
    begin(hook)
    assert LIBRARY not in sys.modules
    module = library.load()
    assert module.Client().send() == "sent for quota"
    assert type(module.__loader__) is type(module.__spec__.loader) is importlib.machinery.SourceFileLoader
    end(hook)
    assert module.Client().send() == "sent"
    assert module.Client.send.__module__ == LIBRARY


def test_one_that_was_there_before_is_patched_too_and_one_that_comes_after_the_end_is_not(
    library: Library, hook: Hook
) -> None:
    module = library.load()
    begin(hook)
    assert module.Client().send() == "sent for quota"
    end(hook)
    del sys.modules[LIBRARY]
    assert library.load().Client().send() == "sent"


def test_one_that_is_loaded_again_is_patched_again(library: Library, hook: Hook) -> None:
    begin(hook)
    old = library.load().Client
    new = importlib.reload(sys.modules[LIBRARY]).Client
    assert (old().send(), new().send()) == ("sent for quota", "sent for quota")
    end(hook)
    assert (old().send(), new().send()) == ("sent", "sent")


def test_an_import_that_fails_fails_as_it_would(library: Library, hook: Hook) -> None:
    library.write("import nothing_of_this_name")
    begin(hook)
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        library.load()
    assert LIBRARY not in sys.modules
    library.write(SOURCE)
    importlib.invalidate_caches()
    assert library.load().Client().send() == "sent for quota"


def test_a_library_that_is_not_installed_or_kept_out_is_none(
    library: Library, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.file.unlink()
    begin(hook)
    with pytest.raises(ModuleNotFoundError, match=LIBRARY):
        library.load()
    end(hook)
    monkeypatch.setitem(sys.modules, LIBRARY, None)
    begin(hook)
    with pytest.raises(ModuleNotFoundError, match=LIBRARY):
        library.load()


@pytest.mark.parametrize("lacks", [patch(owner="Session"), patch(name="deliver")], ids=["class", "method"])
def test_a_version_that_lacks_what_is_patched_is_imported_all_the_same(
    library: Library, lacks: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Hook([lacks])
    begin(hook)
    with caplog.at_level(logging.ERROR, "quotaware"):
        assert library.load().Client().send() == "sent"
    end(hook)
    assert f"calls through {LIBRARY} are not metered" in caplog.text


def test_one_that_another_thread_is_importing_is_waited_for_and_patched(library: Library, hook: Hook) -> None:
    """Whichever of the two comes first, and without either waiting for the other in a ring."""
    library.write(f"import {__name__} as tests\ntests.IMPORTING.set()\nassert tests.GO_ON.wait(10)\n{SOURCE}")
    for meter_first in (False, True):
        IMPORTING.clear(), GO_ON.clear()
        sys.modules.pop(LIBRARY, None)
        if meter_first:
            begin(hook)
        importing = threading.Thread(target=library.load)
        importing.start()
        assert IMPORTING.wait(10)
        instrumenting = threading.Thread(target=begin, args=(hook,))
        instrumenting.start()
        GO_ON.set()
        importing.join(10)
        instrumenting.join(10)
        assert not importing.is_alive()
        assert not instrumenting.is_alive()
        assert sys.modules[LIBRARY].Client().send() == "sent for quota"
        end(hook)


IMPORTING, GO_ON = threading.Event(), threading.Event()


def test_finders_of_any_kind_may_stand_beside(
    library: Library, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the old kind, and one whose loader executes nothing by itself."""

    class Old:
        """Has no `find_spec`."""

    class Silent:
        def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
            return importlib.machinery.ModuleSpec(name, None, is_package=True) if name == LIBRARY else None

    begin(hook)
    watcher = sys.meta_path[0]
    monkeypatch.setattr(sys, "meta_path", [watcher, Old(), Silent()])
    spec = watcher.find_spec(LIBRARY, None)
    assert (spec.name, spec.loader) == (LIBRARY, None)
    assert watcher.find_spec("another", None) is None
    monkeypatch.undo()
