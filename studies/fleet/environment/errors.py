"""What ends a study that cannot measure."""


class MeasurementError(SystemExit):
    """Nothing was measured; the message says why."""

    def __init__(self, why: str) -> None:
        super().__init__(f"could not measure: {why}")
