"""The way in: takes questions over HTTP, answers what is known, publishes the rest."""
