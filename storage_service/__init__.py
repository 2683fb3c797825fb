"""The API: accepts questions over HTTP, answers known ones, and publishes the others."""
