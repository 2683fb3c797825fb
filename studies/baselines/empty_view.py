"""An empty Flask view, the least that an answer over HTTP can cost; for studies/fleet/api.py."""

from flask import Flask

app = Flask(__name__)


@app.post("/query")
def query() -> str:
    """Answers with nothing."""
    return ""
