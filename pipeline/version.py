"""The release."""

VERSION = "0.1.0"
"""Of the images (`IMAGE_TAG`), the APIs and the documents; CHANGELOG.md says what is new in it."""
