from studies.reporting.machine import machine


def test_the_machine_is_described():
    found = machine()
    assert found.cores >= 1
    assert found.memory_bytes > 2**28
    assert found.processor
