"""What the networks share: refusal of weights that would have to be downloaded, and initial values."""

from __future__ import annotations

from collections.abc import Callable

from sardonyx.errors import InvalidArgument
from sardonyx.nn import Linear, Module, init
from sardonyx.nn.conv import Conv2d


def require_random(pretrained: bool, name: str) -> None:
    """Raises InvalidArgument where trained weights are asked for."""
    if pretrained:
        raise InvalidArgument(
            f"{name}(pretrained=True): nothing is downloaded; make {name}() and give load_state_dict() a state that "
            "flowvision or torchvision saved"
        )


def initialize(module: Module, convolution: Callable[[Conv2d], None], linear_std: float | None = None) -> None:
    """Draws convolutions anew and zeros their biases; with `linear_std` linear layers too, from N(0, linear_std^2)."""
    for part in module.modules():
        if isinstance(part, Conv2d):
            convolution(part)
        elif isinstance(part, Linear) and linear_std is not None:
            part.weight.assign(init.normal((part.out_features, part.in_features), 0.0, linear_std))
        else:
            continue
        if part.bias is not None:
            part.bias.assign(init.zeros(part.bias.numpy().shape))


def he_fan_out(part: Conv2d) -> None:
    """N(0, 2 / fan_out)."""
    part.weight.assign(init.he_normal(part.weight.numpy().shape, mode="fan_out"))


def he_fan_in(part: Conv2d) -> None:
    """N(0, 2 / fan_in)."""
    part.weight.assign(init.he_normal(part.weight.numpy().shape))
