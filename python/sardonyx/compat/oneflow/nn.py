"""Layers, modules and graphs by OneFlow's names."""

from typing import TYPE_CHECKING

from sardonyx import nn as _nn
from sardonyx.compat.oneflow import functional, utils
from sardonyx.compat.oneflow.graph import Graph
from sardonyx.compat.oneflow.losses import *  # noqa: F403
from sardonyx.compat.oneflow.losses import __all__ as _losses
from sardonyx.compat.oneflow.modules import Parameter, ParameterList, as_module

_layers = [name for name in _nn.__all__ if name not in ("Incompatible", "Module", "init")]

if TYPE_CHECKING:
    from sardonyx.nn import *  # noqa: F403
else:
    from sardonyx.compat.oneflow import init
    from sardonyx.compat.oneflow.modules import Module

    globals().update({name: as_module(getattr(_nn, name)) for name in _layers})

__all__ = [*_layers, *_losses, "Graph", "Module", "Parameter", "ParameterList", "functional", "init", "utils"]
