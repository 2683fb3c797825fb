"""The scripted storage service of the traffic generator's tests."""

from tests.unit.traffic_generator.conftest import make_httpserver, storage

__all__ = ["make_httpserver", "storage"]
