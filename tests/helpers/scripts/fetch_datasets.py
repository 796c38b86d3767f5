"""Loads the dataset named in each line of standard input with the engine's code, and prints the result."""

from __future__ import annotations

import json
import os
import sys

import msgspec

from engine.config.run_spec import DatasetSpec
from engine.config.sources import Source
from engine.messages.errors import UserError
from engine.training.load_rows import fetch

for line in sys.stdin:
    wanted = json.loads(line)
    os.environ["HF_TOKEN"] = wanted.pop("token", "")
    try:
        rows = fetch(DatasetSpec(), msgspec.convert(wanted, Source))
        found = {"rows": len(rows), "first": rows.first(1)[0]}
    except UserError as why:
        found = {"code": why.code, "field": why.field, "message": str(why.message), "hint": str(why.hint or "")}
    print(json.dumps(found), flush=True)  # noqa: T201
