"""The error that ends a study that cannot measure."""


class MeasurementError(SystemExit):
    """Nothing was measured; the message gives the reason."""

    def __init__(self, why: str) -> None:
        super().__init__(f"could not measure: {why}")
