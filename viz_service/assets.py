"""Static files of the pages, each with a version in its address, so that browsers may keep it for a year."""

import gzip
import hashlib
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from viz_service.texts import LANGUAGES, catalogue

STATIC = Path(__file__).parent / "static"
MAX_AGE_SECONDS = 31_536_000
PLOTLY = "plotly.min.js"
"""Name of the chart library among the assets."""

BASIC_PLOTLY = Path("/usr/share/plotly/plotly-basic.min.js")
"""The partial bundle of plotly.js (bars, pies, lines) in the image; see the Dockerfile."""


@cache
def plotly() -> Path:
    """Returns the path of plotly.js, which is served locally, not by a CDN.

    Outside the image (tests, development) it is the full bundle from the wheel of the plotly package. It draws the same
    charts, but takes three times as long.

    Raises:
        FileNotFoundError: Neither bundle exists.
    """
    if BASIC_PLOTLY.is_file():
        return BASIC_PLOTLY
    spec = find_spec("plotly")  # finds the package without importing it
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path
    raise FileNotFoundError(f"plotly.js is neither at {BASIC_PLOTLY} nor in an installed plotly package")


@cache
def plotly_gzip() -> bytes:
    """Returns plotly.js compressed to a third; computed once per process, in less than 0.1 s."""
    return gzip.compress(plotly().read_bytes(), compresslevel=6, mtime=0)


@cache
def texts(language: str) -> bytes:
    """Returns a language's catalogue as a script that sets `TEXTS`, for the page's modules."""
    entries = next(catalogue(each) for each in LANGUAGES if each == language).entries
    return f"globalThis.TEXTS = {json.dumps(entries, ensure_ascii=True, sort_keys=True)};\n".encode()


@cache
def version(name: str) -> str:
    """Returns a short hash of an asset's content.

    Args:
        name: File in `static`, `plotly.min.js`, or `texts.LANGUAGE.js`.
    """
    if name == PLOTLY:
        content = plotly().read_bytes()
    elif name.startswith("texts."):
        content = texts(name.split(".")[1])
    else:
        content = (STATIC / name).read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]
