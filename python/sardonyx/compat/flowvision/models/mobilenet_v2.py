"""MobileNetV2 (Sandler et al. 2018)."""

from __future__ import annotations

from typing import Any

from sardonyx.compat.flowvision.models.common import he_fan_out, initialize, require_random
from sardonyx.compat.oneflow import nn
from sardonyx.graph.tensor import Tensor, apply

__all__ = ["MobileNetV2", "mobilenet_v2"]

# Expansion, channels, blocks, stride of the first.
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def _rounded(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of 8 that is at least 8 and not below nine tenths."""
    near = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return near + divisor if near < 0.9 * channels else near


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Widens, convolves each channel, narrows, and adds its input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand_ratio: int) -> None:
        super().__init__()
        hidden = round(inputs * expand_ratio)
        self.use_res_connect = stride == 1 and inputs == outputs
        layers = [_conv(inputs, hidden, 1)] if expand_ratio != 1 else []
        narrow = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.conv = nn.Sequential(*layers, _conv(hidden, hidden, 3, stride, hidden), narrow, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, inputs, height, width]."""
        y: Tensor = self.conv(x)
        return x + y if self.use_res_connect else y


class MobileNetV2(nn.Module):
    """Inverted residuals and a linear classifier.

    Args:
        width_mult: factor for the channels of every layer.
    """

    def __init__(self, num_classes: int = 1000, width_mult: float = 1.0, dropout: float = 0.2) -> None:
        super().__init__()
        width, last = _rounded(32 * width_mult), _rounded(1280 * max(1.0, width_mult))
        features: list[nn.Module] = [_conv(3, width, 3, 2)]
        for expansion, channels, blocks, stride in _STAGES:
            outputs = _rounded(channels * width_mult)
            for i in range(blocks):
                features.append(InvertedResidual(width, outputs, stride if i == 0 else 1, expansion))
                width = outputs
        self.features = nn.Sequential(*features, _conv(width, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        initialize(self, he_fan_out, linear_std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, 3, height, width]; gives [n, num_classes]."""
        x = apply("GlobalAveragePool", self.features(x))
        return self.classifier(apply("Flatten", x))  # type: ignore[no-any-return]


def mobilenet_v2(pretrained: bool = False, progress: bool = True, **options: Any) -> MobileNetV2:
    """3.5 million parameters."""
    require_random(pretrained, "mobilenet_v2")
    return MobileNetV2(**options)
