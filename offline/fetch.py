"""Fetches one file while an image is built and checks its SHA-256: python fetch.py ADDRESS SHA256 PATH.

Python is in the base image; its own client keeps to the proxies that a build gets (http_proxy, https_proxy, no_proxy)
and to the authorities of SSL_CERT_FILE. Debian 12's builder does not know `ADD --checksum`; and ADD would go by the
engine's proxy, and ask the address at each build, also where nothing changed.
"""

import hashlib
import sys
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path

TRIES = 3
PAUSE_SECONDS = 2.0
TIMEOUT_SECONDS = 30.0


def fetch(address: str, sha256: str, *, pause_seconds: float = PAUSE_SECONDS) -> bytes:
    """Return what is at an address.

    Raises:
        SystemExit: It could not be fetched, or is something else than expected.
    """
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as response:
                content: bytes = response.read()
            break
        except (OSError, HTTPException) as error:
            if not left:
                raise SystemExit(f"{address} cannot be fetched: {error}") from error
            print(f"{address}: {error}; trying again", file=sys.stderr)
            time.sleep(pause_seconds)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SystemExit(f"{address} has the SHA-256 {found} instead of {sha256}")
    return content


if __name__ == "__main__":
    Path(sys.argv[3]).write_bytes(fetch(sys.argv[1], sys.argv[2]))
