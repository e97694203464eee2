"""`python -m quotaware.organization` prints the JSON Schema of the file, for editors."""

from __future__ import annotations

import json

from .model import schema

if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
