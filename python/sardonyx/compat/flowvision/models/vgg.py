"""VGG with 16 layers (Simonyan and Zisserman 2015), with and without batch normalization."""

from __future__ import annotations

from typing import Any

from sardonyx.compat.flowvision.models.common import he_fan_out, initialize, require_random
from sardonyx.compat.oneflow import nn
from sardonyx.graph.tensor import Tensor, apply

__all__ = ["VGG", "vgg16", "vgg16_bn"]

# Channels of convolutions by stage; a max-pooling ends each.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG(nn.Module):
    """3x3 convolutions in five stages and three linear layers."""

    def __init__(self, num_classes: int = 1000, batch_norm: bool = False, dropout: float = 0.5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for stage in _STAGES:
            for channels in stage:
                layers.append(nn.Conv2d(width, channels, 3, padding=1))
                layers += [nn.BatchNorm2d(channels)] if batch_norm else []
                layers.append(nn.ReLU(inplace=True))
                width = channels
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        initialize(self, he_fan_out, linear_std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, 3, height, width] with known height and width; gives [n, num_classes]."""
        return self.classifier(apply("Flatten", self.avgpool(self.features(x))))  # type: ignore[no-any-return]


def vgg16(pretrained: bool = False, progress: bool = True, **options: Any) -> VGG:
    """138.4 million parameters."""
    require_random(pretrained, "vgg16")
    return VGG(**options)


def vgg16_bn(pretrained: bool = False, progress: bool = True, **options: Any) -> VGG:
    """With batch normalization behind each convolution."""
    require_random(pretrained, "vgg16_bn")
    return VGG(batch_norm=True, **options)
