"""Renders documents from templates: texts are in the template, numbers come from the run."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent.parent),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # Markdown
)


def render(name: str, **values: Any) -> str:
    """Returns a document.

    Args:
        name: Name of the template, such as `fleet/templates/benchmarks.md.j2`.
        values: Its variables; a missing one is an error.
    """
    return _ENVIRONMENT.get_template(name).render(**values)
