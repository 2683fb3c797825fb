from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from pipeline.kafka import QUIET_SECONDS, throttled_error_logger


def test_an_error_is_told_once_in_a_while():
    now = [0.0]
    tell = throttled_error_logger(lambda: now[0])
    with capture_logs() as logs:
        for _ in range(100):
            tell(KafkaError(KafkaError._TRANSPORT, "refused"))
        tell(KafkaError(KafkaError._ALL_BROKERS_DOWN, "down"))
        now[0] = QUIET_SECONDS
        tell(KafkaError(KafkaError._TRANSPORT, "still refused"))
    assert [each["error"] for each in logs] == ["refused", "down", "still refused"]
