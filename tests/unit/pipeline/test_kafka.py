from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from pipeline.kafka import QUIET_SECONDS, throttled_error_logger


def test_a_repeated_error_is_logged_once_per_interval():
    now = [0.0]
    log_error = throttled_error_logger(lambda: now[0])
    with capture_logs() as logs:
        for _ in range(100):
            log_error(KafkaError(KafkaError._TRANSPORT, "refused"))
        log_error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "down"))
        now[0] = QUIET_SECONDS
        log_error(KafkaError(KafkaError._TRANSPORT, "still refused"))
    assert [each["error"] for each in logs] == ["refused", "down", "still refused"]
