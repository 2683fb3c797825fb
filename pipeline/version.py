"""Version of the release."""

VERSION = "0.1.0"
"""Version of the images (`IMAGE_TAG`), the APIs and the documents; CHANGELOG.md lists its changes."""
