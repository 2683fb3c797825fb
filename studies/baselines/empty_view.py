"""An empty Flask view, the minimal cost of an HTTP reply; for studies/fleet/api.py."""

from flask import Flask

app = Flask(__name__)


@app.post("/query")
def query() -> str:
    """Returns an empty reply."""
    return ""
