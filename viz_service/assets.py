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


@cache
def plotly() -> Path:
    """Returns the place of the plotly.min.js that is in the wheel, so that nothing comes from a CDN.

    Raises:
        FileNotFoundError: The wheel is not installed, or has it elsewhere.
    """
    spec = find_spec("plotly")  # finds the package without running it
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "package_data" / PLOTLY
        if path.is_file():
            return path
    raise FileNotFoundError("plotly.min.js is not in the installed plotly package")


@cache
def plotly_gzip() -> bytes:
    """Returns plotly.min.js compressed: 4.7 MB become 1.4 MB. Made once for each process, in about 0.2 s."""
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
