"""Results of the scorer as text, in which they travel from one stage of the job to the next as a single column."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from flink_job.scoring import Rejected
from pipeline.routing import BertScore, NoScore

Result = BertScore | NoScore | Rejected

_READERS: Mapping[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in (BertScore, NoScore, Rejected)}


def dump(result: Result | None) -> str | None:
    """Returns a result as JSON; None for none."""
    return None if result is None else json.dumps([type(result).__name__, asdict(result)])


def load(text: str | None) -> Result | None:
    """Returns the result that `dump` made a text of."""
    if text is None:
        return None
    kind, fields = json.loads(text)
    found: Result = _READERS[kind].validate_python(fields)
    return found
