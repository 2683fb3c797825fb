"""SIGTERM and SIGINT ask a process to finish what is in flight and leave."""

import signal
import threading


def stop_event() -> threading.Event:
    """Returns an event that the two signals set; call it once, in the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
