"""Static files of the page, each with a version in its address, so that browsers may keep it for a year."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

STATIC = Path(__file__).parent / "static"
MAX_AGE_SECONDS = 31_536_000


@cache
def plotly() -> Path:
    """Returns the place of the plotly.min.js that is in the wheel, so that nothing comes from a CDN.

    Raises:
        FileNotFoundError: The wheel is not installed, or has it elsewhere.
    """
    spec = find_spec("plotly")  # finds the package without running it
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path
    raise FileNotFoundError("plotly.min.js is not in the installed plotly package")


@cache
def version(name: str) -> str:
    """Returns a short hash of an asset's content.

    Args:
        name: File in `static`, or `plotly.min.js`.
    """
    path = plotly() if name == "plotly.min.js" else STATIC / name
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
