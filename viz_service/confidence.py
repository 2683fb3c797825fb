"""Confidence intervals of means. Pure functions."""

from math import sqrt
from statistics import NormalDist

_SMALL = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % quantiles of Student's t for 1 to 10 degrees of freedom."""


def mean_interval(mean: float, deviation: float, count: int) -> tuple[float, float] | None:
    """Returns the 95 % confidence interval of a mean (Student's t), or None for fewer than two values.

    Args:
        mean: Mean of the sample.
        deviation: Standard deviation of the sample (with n - 1).
        count: Size of the sample.
    """
    if count < 2:
        return None
    half = t_quantile(count - 1) * deviation / sqrt(count)
    return mean - half, mean + half


def t_quantile(freedom: int) -> float:
    """Returns the 97.5 % quantile of Student's t, accurate to 0.001."""
    if freedom <= len(_SMALL):
        return _SMALL[freedom - 1]
    # Abramowitz and Stegun 26.7.5. SciPy, for this one number, would be most of the image.
    z = NormalDist().inv_cdf(0.975)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
