"""flowvision's models, on `sardonyx.nn`."""

from sardonyx.compat.flowvision import models

__all__ = ["models"]
