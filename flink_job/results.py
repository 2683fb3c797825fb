"""Results of the scorer and of the judge as texts, in which they travel from one stage of the job to the next."""

from collections.abc import Mapping
from typing import Generic, TypeVar

from pydantic import TypeAdapter

from flink_job.client import Rejected
from pipeline.messages import Judgement
from pipeline.routing import BertScore, NoScore

R = TypeVar("R")


class Text(Generic[R]):
    """Converts results of some types to texts and back; None stays None."""

    def __init__(self, *types: type[R]) -> None:
        self._adapters: Mapping[str, TypeAdapter[R]] = {each.__name__: TypeAdapter(each) for each in types}

    def dump(self, result: R | None) -> str | None:
        """Returns the name of the result's type and its fields as JSON."""
        if result is None:
            return None
        name = type(result).__name__
        return f"{name} {self._adapters[name].dump_json(result).decode()}"

    def load(self, text: str | None) -> R | None:
        """Returns the result that `dump` made a text of."""
        if text is None:
            return None
        name, _, fields = text.partition(" ")
        return self._adapters[name].validate_json(fields)


SCORE: Text[BertScore | NoScore | Rejected] = Text(BertScore, NoScore, Rejected)
JUDGEMENT: Text[Judgement] = Text(Judgement)
