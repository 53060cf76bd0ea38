"""Densely connected networks (Huang et al. 2017)."""

from __future__ import annotations

from typing import Any

from sardonyx.compat.flowvision.models.common import he_fan_in, initialize, require_random
from sardonyx.compat.oneflow import nn
from sardonyx.graph.tensor import Tensor, apply

__all__ = ["DenseNet", "densenet121"]


class _DenseLayer(nn.Module):
    """BN, ReLU, 1x1 convolution, BN, ReLU, 3x3 convolution over all that came before in the block."""

    def __init__(self, inputs: int, growth_rate: int, bn_size: int, drop_rate: float) -> None:
        super().__init__()
        hidden = bn_size * growth_rate
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(hidden, growth_rate, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, features: list[Tensor]) -> Tensor:
        """features: what came before, [n, channels, height, width] each."""
        x = features[0] if len(features) == 1 else apply("Concat", *features, axis=1)
        x = self.conv1(self.relu1(self.norm1(x)))
        return self.dropout(self.conv2(self.relu2(self.norm2(x))))  # type: ignore[no-any-return]


class _DenseBlock(nn.Module):
    """Layers each of which reads the outputs of all before it."""

    def __init__(self, layers: int, inputs: int, growth_rate: int, bn_size: int, drop_rate: float) -> None:
        super().__init__()
        for i in range(layers):
            layer = _DenseLayer(inputs + i * growth_rate, growth_rate, bn_size, drop_rate)
            self.add_module(f"denselayer{i + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, inputs, height, width]."""
        features = [x]
        for layer in self.children():
            features.append(layer(features))
        return apply("Concat", *features, axis=1)


class _Transition(nn.Sequential):
    """Halves channels and extents."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pool = nn.AvgPool2d(2, 2)


class DenseNet(nn.Module):
    """A stem, blocks with transitions between them, and a linear classifier.

    Args:
        growth_rate: channels that each layer adds.
        block_config: layers of each block.
        bn_size: the channels inside a layer are so many growth rates.
    """

    def __init__(
        self,
        growth_rate: int = 32,
        block_config: tuple[int, ...] = (6, 12, 24, 16),
        num_init_features: int = 64,
        bn_size: int = 4,
        drop_rate: float = 0.0,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            {
                "conv0": nn.Conv2d(3, num_init_features, 7, 2, 3, bias=False),
                "norm0": nn.BatchNorm2d(num_init_features),
                "relu0": nn.ReLU(inplace=True),
                "pool0": nn.MaxPool2d(3, 2, 1),
            }
        )
        width = num_init_features
        for i, layers in enumerate(block_config, 1):
            self.features.add_module(f"denseblock{i}", _DenseBlock(layers, width, growth_rate, bn_size, drop_rate))
            width += layers * growth_rate
            if i < len(block_config):
                self.features.add_module(f"transition{i}", _Transition(width, width // 2))
                width //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, num_classes)
        initialize(self, he_fan_in)
        assert self.classifier.bias is not None
        self.classifier.bias.assign(nn.init.zeros([num_classes]))

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, 3, height, width]; gives [n, num_classes]."""
        x = apply("GlobalAveragePool", apply("Relu", self.features(x)))
        return self.classifier(apply("Flatten", x))  # type: ignore[no-any-return]


def densenet121(pretrained: bool = False, progress: bool = True, **options: Any) -> DenseNet:
    """121 layers, 8.0 million parameters."""
    require_random(pretrained, "densenet121")
    return DenseNet(**options)
