"""Layers, modules and graphs by OneFlow's names."""

from sardonyx.compat.oneflow import functional
from sardonyx.compat.oneflow.graph import Graph
from sardonyx.compat.oneflow.losses import *  # noqa: F403
from sardonyx.compat.oneflow.losses import __all__ as _losses
from sardonyx.nn import *  # noqa: F403
from sardonyx.nn import __all__ as _layers

__all__ = [*_layers, *_losses, "Graph", "functional"]
