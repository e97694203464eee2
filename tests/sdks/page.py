"""The page of the docs that says what was found of each SDK, made of the matrix's rows.

    python -m tests.sdks.page

makes every environment anew, tries all that is in it, and writes `docs/sdks.md`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.environments import ROOT, environment, run

PAGE = ROOT / "docs" / "sdks.md"
ENVIRONMENTS = {
    name: Path(__file__).parent / "environments" / f"{name}.txt"
    for name in ("newest", "earlier", "oldest", "without_aiohttp", "genai_without_aiohttp")
}
"""What each has in it, to the last version, under a title."""
HEAD = """# SDKs

This page is made by a test run, and another compares it with what it finds. Real SDKs, as the package index has them,
ask their providers' own hosts and paths, which are a server on this machine. Each row is a client and a method of it,
tried whole and, where there are streams, streamed:

- **metered**: one request was sent and one record left, with the tokens that the answer reported, while the app got the
  same answer.
- **over the budget**, **nobody may call**: the exception that the app gets for a 429 and a 403 of ours, which has our
  message in it. Nothing was sent, and the SDK asked once, or as often as is said.
- After `uninstrument()` the same call was sent once more, and no function of ours ran.

httpx, httpx2, aiohttp and requests are seen as a request goes out. What has signed its body before that (aiobotocore,
Anthropic's client for Bedrock) is metered and refused as all others are; an output cap cannot be written into it.
botocore is seen before it signs. What goes by two of them (httpx over aiohttp) is metered once, by the outer one.

Older versions of LiteLLM's sync client leave streams early, and are not among the rows. Up to 1.82.1 it does not wait
for the usage of Groq's: the output that was seen is charged, as `partial`. Up to 1.93 it keeps hold of the last stream
from Anthropic until it begins another: it is charged as reported once no byte moved for `lease` (a minute), and until
then it counts for `concurrent`.

Not seen is `xai-sdk`, which speaks gRPC; the OpenAI SDK at `api.x.ai` is. For an SDK that is not here, look at what it
leaves:

```python
from openai import OpenAI
from quotaware import Quota

quota = Quota("memory://", limits=["$50/month"])
quota.instrument()
OpenAI().chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "hello"}])
(record,) = quota.blocking.usage.records()
assert record.quality == "exact"  # what the provider reported
quota.close()
```
"""
COLUMNS = ("SDK", "client", "call", "over", "metered", "over the budget", "nobody may call")


def page(sections: Iterable[str]) -> str:
    """The whole page."""
    return "\n".join([HEAD, *sections])


def section(name: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """What was found in an environment."""
    title = ENVIRONMENTS[name].read_text().splitlines()[0].removeprefix("# ")
    lines = [_line(COLUMNS), _line("---" for _ in COLUMNS), *map(_row, rows)]
    return "\n".join([f"## {title}", "", *lines, ""])


def sections(text: str) -> list[str]:
    """The sections of a page."""
    _, *found = text.split("\n## ")
    return [f"## {one.rstrip()}\n" for one in found]


def _row(row: Mapping[str, Any]) -> str:
    trials = {name: row[name] for name in ("whole", "streamed") if name in row}
    over = {name: " over ".join(trial["over"]) for name, trial in trials.items()}
    denied = {name: _raised(trial["denied"], trial["tries"][0]) for name, trial in trials.items()}
    forbidden = {name: _raised(trial["forbidden"], trial["tries"][1]) for name, trial in trials.items()}
    metered = [name for name, trial in trials.items() if not trial["wrong"]]
    client, method = f"`{row['client']}`", f"`{row['method']}`"
    sdk = f"{row['sdk']} {row['version']}"
    return _line(
        [sdk, client, method, _each(over), ", ".join(metered) or "no", _each(denied), _each(forbidden)]
    )


def _raised(exception: str, tries: int) -> str:
    return f"`{exception}`" + (f" after {tries} tries" if tries != 1 else "")


def _each(said: Mapping[str, str]) -> str:
    """What is said of both, once where it is the same."""
    if len({*said.values()}) == 1:
        return next(iter(said.values()))
    return ", ".join(f"{name}: {one}" for name, one in said.items())


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def found(name: str, folder: Path) -> list[dict[str, Any]]:
    """The rows of an environment, which is made in this folder."""
    python = environment(folder, "-r", str(ENVIRONMENTS[name]))
    ran = run(python, "-m", "tests.sdks.matrix")
    assert ran.returncode == 0, ran.stderr[-5000:]
    return [json.loads(line) for line in ran.stdout.splitlines()]


def main() -> None:
    made = []
    for name in ENVIRONMENTS:
        with tempfile.TemporaryDirectory() as folder:
            made.append(section(name, found(name, Path(folder))))
    PAGE.write_text(page(made))


if __name__ == "__main__":
    main()
