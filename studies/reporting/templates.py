"""Documents from templates: prose states the rule, and numbers come from the run."""

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
        name: Of the template, such as `fleet/templates/benchmarks.md.j2`.
        values: What it shows; one that it shows and lacks is an error.
    """
    return _ENVIRONMENT.get_template(name).render(**values)
