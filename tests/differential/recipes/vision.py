"""Convolutions, pools, normalizations over feature maps, resampling."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.differential import types
from tests.differential.case import recipe
from tests.differential.draw import Draw, Node
from tests.differential.recipes.elementwise import old_form


class Window:
    """A sliding window: its attributes, and an image that is large enough for it."""

    def __init__(self, d: Draw, *, most: int = 3, dilated: bool = True, padded: bool = True) -> None:
        self.rank = d.integer(1, most)
        self.kernel = [d.extent(1, 3) for _ in range(self.rank)]
        strides = [d.extent(1, 3) for _ in range(self.rank)] if d.chance() else None
        dilations = [d.extent(1, 2) for _ in range(self.rank)] if dilated and d.chance(0.4) else None
        self.attrs: dict[str, Any] = {}
        if strides:
            self.attrs["strides"] = strides
        if dilations:
            self.attrs["dilations"] = dilations
        self.strides = strides or [1] * self.rank
        self.dilations = dilations or [1] * self.rank
        self.reach = [(k - 1) * s + 1 for k, s in zip(self.kernel, self.dilations)]
        if padded and d.chance(0.6):
            if d.chance(0.6) or not d.has("auto_pad"):
                self.attrs["pads"] = [d.integer(0, min(2, k - 1)) for k in self.kernel * 2]
            else:
                self.attrs["auto_pad"] = d.choice(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
        self.image = [d.integer(r, r + 6) for r in self.reach]
        if not d.small and d.chance(0.12):
            self.image[-1] += d.integer(10, 60)

    def explicit(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The attributes with auto_pad spelled out."""
        mode = attrs.get("auto_pad", "NOTSET")
        attrs = {name: value for name, value in attrs.items() if name != "auto_pad"}
        if not mode.startswith("SAME"):
            return attrs
        begin, end = [], []
        for n, reach, stride in zip(self.image, self.reach, self.strides):
            total = max((-(-n // stride) - 1) * stride + reach - n, 0)
            less, more = total // 2, total - total // 2
            begin.append(less if mode == "SAME_UPPER" else more)
            end.append(more if mode == "SAME_UPPER" else less)
        return {**attrs, "pads": begin + end}


@recipe("Conv")
def conv(d: Draw) -> Node:
    w = Window(d)
    group = d.choice([1, 1, 2, 3])
    c, m = d.wide(1, 3, 40), d.wide(1, 4, 40)
    if d.chance(0.2):
        c = m = 1
        group = d.wide(1, 3, 40)
    x = d.array(d.kind(), (d.extent(1, 3), c * group, *w.image))
    k = d.array(d.kind(), (m * group, c, *w.kernel), -2, 2)
    bias = [d.array(d.kind(), (m * group,))] if d.chance() else []
    attrs = {**w.attrs, **({"group": group} if group > 1 or d.chance() else {})}
    if d.chance():
        attrs["kernel_shape"] = w.kernel
    taps = c * int(np.prod(w.kernel))
    return Node([x, k, *bias], attrs, steps=16 + taps, scale=8 * taps + 4)


@recipe("ConvTranspose")
def conv_transpose(d: Draw) -> Node:
    w = Window(d, most=2)
    group = d.choice([1, 1, 2])
    c, m = d.extent(1, 3), d.extent(1, 3)
    x = d.array(d.kind(), (d.extent(1, 2), c * group, *w.image))
    k = d.array(d.kind(), (c * group, m, *w.kernel), -2, 2)
    bias = [d.array(d.kind(), (m * group,))] if d.chance() else []
    attrs = {**w.attrs, **({"group": group} if group > 1 else {})}
    attrs.pop("auto_pad", None)
    if d.chance(0.3):
        attrs["output_padding"] = [d.integer(0, s - 1) for s in w.strides]
    taps = c * int(np.prod(w.kernel))
    return Node([x, k, *bias], attrs, steps=16 + taps, scale=8 * taps + 4)


@recipe("DeformConv")
def deform_conv(d: Draw) -> Node:
    n, group, offsets = d.extent(1, 2), d.choice([1, 2]), d.choice([1, 2])
    c, m = 2 * d.extent(1, 2), 2 * d.extent(1, 2)
    kernel = [d.extent(1, 3), d.extent(1, 3)]
    strides, pads = [d.extent(1, 2), d.extent(1, 2)], [d.integer(0, 1) for _ in range(4)]
    image = [k + d.integer(0, 3) for k in kernel]
    out = [(i + pads[a] + pads[a + 2] - kernel[a]) // strides[a] + 1 for a, i in enumerate(image)]
    taps = kernel[0] * kernel[1]
    inputs: list[Any] = [
        d.array(d.kind(), (n, c, *image), -2, 2),
        d.array(d.kind(), (m, c // group, *kernel), -2, 2),
        d.array(d.kind(), (n, offsets * taps * 2, *out), -1.5, 1.5),
        d.array(d.kind(), (m,)) if d.chance() else None,
        d.array(d.kind(), (n, offsets * taps, *out), 0, 1) if d.chance() else None,
    ]
    while inputs[-1] is None:
        inputs.pop()
    attrs = {"strides": strides, "pads": pads, "group": group, "offset_group": offsets}
    if d.chance():
        attrs["kernel_shape"] = kernel
    return Node(inputs, attrs, steps=64 + taps * c, scale=16 * taps * c)


@recipe("AveragePool", "MaxPool", "LpPool")
def pool(d: Draw) -> Node:
    w = Window(d, dilated=d.has("dilations"))
    kind = d.kind()
    x = d.array(kind, (d.extent(1, 2), d.extent(1, 3), *w.image), -9, 9)
    attrs = {**w.attrs, "kernel_shape": w.kernel}
    if "auto_pad" not in attrs:
        attrs.update(d.attributes(ceil_mode=lambda: d.integer(0, 1)))
    attrs.update(d.attributes(count_include_pad=lambda: d.integer(0, 1)))
    if d.has("p"):
        attrs.update(d.attributes(p=lambda: d.integer(1, 3)))
        if d.version == 1 and "p" in attrs:
            attrs["p"] = float(attrs["p"])
    outputs = 1
    if d.op == "MaxPool" and d.version >= 8 and d.chance():
        outputs = 2
        attrs.update(d.attributes(storage_order=lambda: d.integer(0, 1)))
    taps = int(np.prod(w.kernel))
    node = Node([x], attrs, outputs=outputs, steps=16 + taps, scale=9 * taps)
    if d.op == "LpPool" and d.version == 1 and "p" in attrs:
        attrs = {**attrs, "p": int(attrs["p"])}
        node.like = Node([x], w.explicit(attrs), version=22)
    elif "auto_pad" in attrs or (d.version == 1 and d.op != "MaxPool"):
        first = {"AveragePool": 7, "LpPool": 2}.get(d.op, 1)
        node.like = Node([x], w.explicit(attrs), version=max(d.version, first))
    return node


@recipe("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(d: Draw) -> Node:
    x = d.array(d.kind(), (d.extent(1, 2), d.extent(1, 4), *(d.extent() for _ in range(d.integer(1, 3)))), -4, 4)
    attrs: dict[str, Any] = {"p": d.integer(1, 3)} if d.op == "GlobalLpPool" and d.chance() else {}
    taps = int(np.prod(x.shape[2:]))
    if d.op == "GlobalLpPool":
        p = attrs.get("p", 2)
        axes = tuple(range(2, x.ndim))
        if d.version == 1 and attrs:
            attrs["p"] = float(p)

        def expect(x: Any) -> Any:
            return ((np.abs(x.astype(np.float64)) ** p).sum(axes, keepdims=True) ** (1 / p)).astype(x.dtype)

        return Node([x], attrs, steps=16 + taps, scale=4 * taps, expect=expect)
    return Node([x], attrs, steps=16 + taps, scale=4)


@recipe("MaxUnpool")
def max_unpool(d: Draw) -> Node:
    n, c, h, w = d.extent(1, 2), d.extent(1, 2), d.extent(1, 4), d.extent(1, 4)
    kernel = [2, 2]
    strides = [2, 2]
    out = (n, c, 2 * h, 2 * w)
    given = d.chance(0.4)
    if given:
        out = (n, c, 2 * h + d.integer(0, 1), 2 * w + d.integer(0, 1))
    x = d.array(d.kind("T1"), (n, c, h, w))
    size = int(np.prod(out))
    indices = d.rng.permutation(n * c * 4 * h * w if not given else size)[: x.size].reshape(x.shape).astype(np.int64)

    def expect(x: Any, i: Any, shape: Any = None) -> Any:
        y = np.zeros(size, x.dtype)
        if given:
            y[i.reshape(-1)] = x.reshape(-1)
            return y.reshape(out)
        y[i.reshape(-1)] = x.reshape(-1)
        return y.reshape(out)

    inputs = [x, indices, np.array(out, np.int64)] if given else [x, indices]
    d.need(not given)  # what indices mean with another output shape is not said
    return Node(inputs, {"kernel_shape": kernel, "strides": strides}, steps=0, widen=False, expect=expect)


@recipe("MaxRoiPool")
def max_roi_pool(d: Draw) -> Node:
    n, c, h, w = d.extent(1, 2), d.extent(1, 3), d.extent(4, 9), d.extent(4, 9)
    rois = []
    for _ in range(d.extent(1, 3)):
        x1, y1 = d.integer(0, w - 1), d.integer(0, h - 1)
        rois.append([d.integer(0, n - 1), x1, y1, d.integer(x1, w - 1), d.integer(y1, h - 1)])
    dtype = types.dtype(d.kind())
    attrs: dict[str, Any] = {"pooled_shape": [d.extent(1, 3), d.extent(1, 3)]}
    if d.chance(0.3):
        attrs["spatial_scale"] = 0.5
    x, boxes = d.array(d.kind(), (n, c, h, w)), np.array(rois).astype(dtype)
    return Node([x, boxes], attrs, steps=0, like=Node([x, boxes], attrs, version=1))


@recipe("RoiAlign")
def roi_align(d: Draw) -> Node:
    n, c, h, w = d.extent(1, 2), d.extent(1, 3), d.extent(4, 9), d.extent(4, 9)
    count = d.extent(1, 3)
    rois = np.array([[d.real(0, 2), d.real(0, 2), d.real(3, w), d.real(3, h)] for _ in range(count)])
    attrs = d.attributes(
        coordinate_transformation_mode=lambda: d.choice(["half_pixel", "output_half_pixel"]),
        mode=lambda: "avg",
        output_height=lambda: d.extent(1, 3),
        output_width=lambda: d.extent(1, 3),
        sampling_ratio=lambda: d.integer(1, 3),
        spatial_scale=lambda: d.choice([0.5, 1.0]),
    )
    inputs = [
        d.array(d.kind("T1"), (n, c, h, w)),
        rois.astype(types.dtype(d.kind("T1"))),
        d.rng.integers(0, n, count).astype(np.int64),
    ]
    return Node(inputs, attrs, steps=256, scale=4)


@recipe("BatchNormalization")
def batch_norm(d: Draw) -> Node:
    c = d.extent(1, 4)
    shape = (d.extent(2, 4), c, *(d.extent(1, 4) for _ in range(d.integer(0 if d.version >= 9 else 1, 3))))
    variables = {14: ("T", "T", "U"), 15: ("T", "T1", "T2")}.get(d.version, ("T", "T", "T"))
    x = d.array(d.kind(variables[0]), shape)
    attrs = d.attributes(epsilon=lambda: d.real(1e-4, 1e-2), momentum=lambda: d.real(0.1, 0.9))
    attrs.update(old_form(d, 5))
    eps, momentum = attrs.get("epsilon", float(np.float32(1e-5))), attrs.get("momentum", float(np.float32(0.9)))
    stats: tuple[int, ...] = (c,)
    if d.has("spatial") and d.chance(0.3):
        attrs["spatial"] = 0
        stats = shape[1:]
    scale, bias = (d.array(d.kind(variables[1]), stats, 0.5, 2) for _ in range(2))
    mean, var = d.array(d.kind(variables[2]), stats, -1, 1), d.array(d.kind(variables[2]), stats, 0.5, 2)
    outputs = 1
    training = False
    if d.has("training_mode") and d.chance():
        attrs["training_mode"], outputs, training = 1, d.choice([1, 3]), True
    if d.version < 14 and len(stats) == 1 and d.chance(0.3):
        outputs, training = d.choice([3, 5]), True
    elif d.has("is_test"):
        attrs["is_test"] = 1

    def expect(x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
        axes = tuple(i for i in range(x.ndim) if i != 1)
        wide = x.astype(np.float64)
        spread = [v.astype(np.float64) for v in (scale, bias, mean, var)]
        if attrs.get("spatial", 1):
            spread = [v.reshape(-1, *[1] * (x.ndim - 2)) for v in spread]
        s, b, m, v = spread
        extra = []
        if training:
            now_m, now_v = wide.mean(axes, keepdims=True)[0], wide.var(axes, keepdims=True)[0]
            saved = [now_m.reshape(-1).astype(mean.dtype), now_v.reshape(-1).astype(mean.dtype)]
            extra = [
                (m * momentum + now_m * (1 - momentum)).reshape(-1).astype(mean.dtype),
                (v * momentum + now_v * (1 - momentum)).reshape(-1).astype(mean.dtype),
            ]
            extra += saved
            m, v = now_m, now_v
        return [((wide - m) / np.sqrt(v + eps) * s + b).astype(x.dtype), *extra[: outputs - 1]]

    return Node([x, scale, bias, mean, var], attrs, outputs=outputs, steps=128, scale=32, expect=expect)


@recipe("InstanceNormalization")
def instance_norm(d: Draw) -> Node:
    c = d.extent(1, 4)
    x = d.array(d.kind(), (d.extent(1, 3), c, *(d.extent(2, 6) for _ in range(d.integer(1, 3)))))
    attrs = {**d.attributes(epsilon=lambda: d.real(1e-3, 1e-1)), **old_form(d, 3)}
    return Node([x, d.array(d.kind(), (c,)), d.array(d.kind(), (c,))], attrs, steps=256, scale=16)


@recipe("GroupNormalization")
def group_norm(d: Draw) -> Node:
    groups, per = d.extent(1, 3), d.extent(1, 3)
    c = groups * per
    x = d.array(d.kind(), (d.extent(1, 3), c, *(d.extent(2, 4) for _ in range(d.integer(1, 3)))))
    attrs = {"num_groups": groups, **d.attributes(epsilon=lambda: d.real(1e-3, 1e-1), stash_type=lambda: 1)}
    return Node([x, d.array(d.kind(), (c,)), d.array(d.kind(), (c,))], attrs, steps=256, scale=16, single=True)


@recipe("LRN")
def lrn(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(4, 4, most=6))
    attrs = {
        "size": d.choice([1, 3, 5]),
        **d.attributes(alpha=lambda: d.real(1e-3, 0.5), beta=lambda: d.real(0.2, 1), bias=lambda: d.real(0.5, 2)),
    }
    return Node([x], attrs, steps=64, scale=4)


@recipe("MeanVarianceNormalization")
def mvn(d: Draw) -> Node:
    x = d.array(d.kind(), [d.extent(2, 4) for _ in range(4)])
    return Node([x], d.attributes(axes=lambda: sorted(d.some(range(4), 1))), steps=512, scale=8)


def _size_factors(d: Draw, rank: int) -> list[float]:
    return [d.choice([1.0, 2.0, 0.5, 3.0, 1.5, 0.75]) for _ in range(rank)]


@recipe("Upsample")
def upsample(d: Draw) -> Node:
    x = d.array(d.kind(), (d.extent(1, 2), d.extent(1, 3), d.extent(1, 5), d.extent(1, 5)))
    mode = d.choice(["nearest", "linear" if d.version > 1 else "bilinear"])
    if not types.is_float(d.kind()):
        mode = "nearest"
    scales = [1.0, 1.0, d.choice([1.0, 2.0, 3.0]), d.choice([1.0, 2.0, 3.0])]
    attrs: dict[str, Any] = {"mode": mode} if mode != "nearest" or d.chance() else {}
    given: list[Any] = [x]
    if d.version == 1:
        attrs["height_scale"], attrs["width_scale"] = scales[2:]
    elif d.version == 7:
        attrs["scales"] = scales
    else:
        given.append(np.array(scales, np.float32))
    like_attrs = {
        "mode": "nearest" if mode == "nearest" else "linear",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    inputs = [x, None, np.array(scales, np.float32)]
    like = Node(inputs, like_attrs, op="Resize", version=13, kinds=[d.kind(), None, "tensor(float)"])
    return Node(given, attrs, steps=64, scale=4, like=like, moves=mode == "nearest", widen=mode != "nearest")


@recipe("Resize")
def resize(d: Draw) -> Node:
    variable = "T" if d.version == 10 else "T1"
    mode = d.choice(["nearest", "linear", "cubic"] if d.version >= 11 else ["nearest", "linear"])
    if not types.is_float(d.kind(variable)):
        mode = "nearest"
    rank = d.integer(1, 4) if mode != "cubic" else 4
    shape = [d.extent(1, 6) for _ in range(rank)]
    outer = rank - 2 if rank > 2 else 0
    if d.version < 18 and mode != "nearest" and rank not in (2, 4):
        shape, rank, outer = [d.extent(1, 3), d.extent(1, 3), d.extent(2, 6), d.extent(2, 6)], 4, 2
    x = d.array(d.kind(variable), shape)
    factors = [1.0] * outer + _size_factors(d, rank - outer)
    attrs: dict[str, Any] = {"mode": mode}
    if d.version == 10:
        d.need(all(int(n * s) >= 1 for n, s in zip(shape, factors)))
        nearest = mode == "nearest"
        return Node([x, np.array(factors, np.float32)], attrs, steps=64, scale=4, moves=nearest, widen=not nearest)
    if mode == "nearest":
        attrs.update(
            d.attributes(
                nearest_mode=lambda: d.choice(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
            )
        )
    modes = ["half_pixel", "asymmetric", "align_corners"]
    if all(int(n * s) > 1 for n, s in zip(shape, factors)):  # the reference does not make one lone pixel the first
        modes.append("pytorch_half_pixel")
    if d.version >= 19:
        modes.append("half_pixel_symmetric")
    attrs.update(d.attributes(coordinate_transformation_mode=lambda: d.choice(modes)))
    if mode == "cubic":
        attrs.update(
            d.attributes(cubic_coeff_a=lambda: d.choice([-0.5, -0.75]), exclude_outside=lambda: d.integer(0, 1))
        )
    if d.has("antialias") and mode != "nearest" and d.chance(0.3):
        attrs["antialias"] = 1
    d.need(all(int(n * s) >= 1 for n, s in zip(shape, factors)))
    roi = np.zeros(0, types.dtype(d.kind("T2"))) if d.version == 11 or d.chance(0.3) else None
    scales = np.array(factors, np.float32)
    if d.chance():
        sizes = np.array([int(np.floor(n * s)) for n, s in zip(shape, factors)], np.int64)
        empty = np.zeros(0, np.float32) if d.version == 11 else None
        inputs = [x, roi, empty, sizes]
        if d.version >= 18:
            policies = ["stretch"]
            if attrs.get("coordinate_transformation_mode") != "pytorch_half_pixel":
                policies += ["not_larger", "not_smaller"]
            attrs.update(d.attributes(keep_aspect_ratio_policy=lambda: d.choice(policies)))
        if attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
            axes = list(range(outer, rank))
            attrs["axes"] = axes
            inputs[3] = sizes[axes]
    else:
        inputs = [x, roi, scales]
    nearest = mode == "nearest"
    return Node(inputs, attrs, steps=4096, scale=4, moves=nearest, widen=not nearest)


@recipe("GridSample")
def grid_sample(d: Draw) -> Node:
    old = d.version < 20
    rank = 2 if old else d.choice([2, 3])
    modes = ["bilinear", "nearest", "bicubic"] if old else ["linear", "nearest", "cubic"]
    if rank == 3 or not types.is_float(d.kind("T1")):
        modes = modes[:2]
    if not types.is_float(d.kind("T1")):
        modes = ["nearest"]
    attrs = d.attributes(
        align_corners=lambda: d.integer(0, 1), padding_mode=lambda: d.choice(["zeros", "border", "reflection"])
    )
    attrs["mode"] = d.choice(modes)
    n = d.extent(1, 2)
    x = d.array(d.kind("T1"), (n, d.extent(1, 3), *(d.extent(2, 5) for _ in range(rank))))
    grid = d.array(d.kind("T2"), (n, *(d.extent(1, 4) for _ in range(rank)), rank), -1.3, 1.3)
    return Node([x, grid], attrs, steps=4096, scale=4, moves=attrs["mode"] == "nearest")


@recipe("AffineGrid")
def affine_grid(d: Draw) -> Node:
    rank, n = d.choice([2, 3]), d.extent(1, 3)
    size = [n, d.extent(1, 3), *(d.extent(2, 5) for _ in range(rank))]
    theta = d.array(d.kind("T1"), (n, rank, rank + 1), -2, 2)
    return Node([theta, np.array(size, np.int64)], d.attributes(align_corners=lambda: d.integer(0, 1)), scale=8)


@recipe("Col2Im")
def col2im(d: Draw) -> Node:
    image, block = [d.extent(3, 6), d.extent(3, 6)], [d.extent(1, 3), d.extent(1, 3)]
    attrs = d.attributes(
        strides=lambda: [d.extent(1, 2), d.extent(1, 2)],
        pads=lambda: [d.integer(0, 1) for _ in range(4)],
        dilations=lambda: [1, 1],
    )
    strides, pads = attrs.get("strides", [1, 1]), attrs.get("pads", [0] * 4)
    count = 1
    for a in range(2):
        count *= (image[a] + pads[a] + pads[a + 2] - block[a]) // strides[a] + 1
    kind = d.kind()
    apart = d.name() == "string"  # each element in a place of its own
    if apart:
        attrs = {"strides": block}
        count = (image[0] // block[0]) * (image[1] // block[1])
        d.need(all(i % b == 0 for i, b in zip(image, block)))
    x = d.array(kind, (d.extent(1, 2), d.extent(1, 2) * block[0] * block[1], count), 0, 3)
    sizes = [np.array(image, np.int64), np.array(block, np.int64)]
    return Node([x, *sizes], attrs, steps=32, scale=40, moves=apart)
