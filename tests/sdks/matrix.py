"""Tries every way of every SDK that is installed, and says what was found, a line of JSON a way.

python -m tests.sdks.matrix [words that a way's name has]
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import Any

from quotaware.testing.server import serve
from tests.sdks.provider import Provider
from tests.sdks.trying import Trying, nowhere_else
from tests.sdks.ways import WAYS


def rows(words: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """A row for each way that is there: `whole` and `streamed` are its trials."""
    provider = Provider()
    with serve(provider) as url, nowhere_else():
        port = url.rpartition(":")[2]
        for way in WAYS:
            if way.version is None or not all(word in str(way) for word in words):
                continue
            row: dict[str, Any] = {
                "sdk": way.sdk,
                "version": way.version,
                "client": way.client,
                "method": way.method,
            }
            for name, stream in (("whole", False), ("streamed", True))[: 1 if way.embeds else 2]:
                trying = Trying(way, stream, provider, lambda host: f"http://{host}:{port}")
                row[name] = asdict(trying.trial())
            yield row


def main() -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask for a newer one
    warnings.simplefilter("ignore")
    out = sys.stdout
    with redirect_stdout(sys.stderr):  # SDKs print too
        for row in rows(sys.argv[1:]):
            print(json.dumps(row), file=out, flush=True)


if __name__ == "__main__":
    main()
