"""Resize and Upsample: modes, coordinates, antialiasing, crops, aspect ratios, types, old opsets."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(1)
COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]


def data(shape, dtype=np.float32):
    if np.dtype(dtype).kind in "iu":
        return np.asarray(rng.integers(0, 100, shape)).astype(dtype)
    return np.asarray(rng.uniform(0, 4, shape)).astype(dtype)


def scaled(x, scales, **attrs):
    options = {k: attrs.pop(k) for k in ("id", "expect", "opset", "rtol", "atol") if k in attrs}
    options.setdefault("rtol", 1e-5)
    options.setdefault("atol", 1e-5)
    return Case("Resize", [x, None, const(scales, np.float32)], attrs, **options)


def sized(x, sizes, roi=None, **attrs):
    options = {k: attrs.pop(k) for k in ("id", "expect", "opset", "rtol", "atol") if k in attrs}
    options.setdefault("rtol", 1e-5)
    options.setdefault("atol", 1e-5)
    return Case(
        "Resize", [x, None if roi is None else const(roi, np.float32), None, const(sizes, np.int64)], attrs, **options
    )


test_coordinates = check(
    [
        scaled(data((1, 2, 4, 5)), [1, 1, *s], mode=mode, coordinate_transformation_mode=c, id=f"{mode}-{c}-{s}")
        for mode in ("nearest", "linear", "cubic")
        for c in COORDINATES
        for s in ([2, 2], [0.6, 0.7], [1.5, 2.3], [3, 1])
        if not (mode == "cubic" and c == "pytorch_half_pixel" and min(s) < 0.5)
    ]
)
test_nearest = check(
    [
        scaled(
            data((1, 1, 4, 6)),
            [1, 1, *s],
            mode="nearest",
            nearest_mode=n,
            coordinate_transformation_mode=c,
            id=f"{n}-{c}-{s}",
        )
        for n in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        for c in ("half_pixel", "asymmetric", "align_corners")
        for s in ([2, 2], [0.5, 0.5], [1.3, 0.7])
    ]
    + [
        scaled(
            data((2, 3, 17, 19), t), [1, 1, 2, 2], expect=lambda x, *_: x.repeat(2, 2).repeat(2, 3), id=np.dtype(t).name
        )
        for t in (np.uint8, np.float16, ml_dtypes.bfloat16, np.float32, np.int64, np.complex128, np.bool_)
    ]
    + [
        scaled(data((1, 17, 19, 3)), [1, 2, 3, 1], expect=lambda x, *_: x.repeat(2, 1).repeat(3, 2), id="nhwc"),
        scaled(np.array(["a", "b"], object), [2], expect=np.array(["a", "a", "b", "b"], object), id="strings"),
        scaled(data((3, 4)), [2, 1], expect=lambda x, *_: x.repeat(2, 0), id="rows"),
        scaled(data((3, 4)), [1, 1], expect=lambda x, *_: x, id="same"),
        scaled(data((2, 3, 4)), [2, 2, 2], expect=lambda x, *_: x.repeat(2, 0).repeat(2, 1).repeat(2, 2), id="all"),
    ]
)
test_filters = check(
    [
        scaled(
            data((1, 1, 9, 10)),
            [1, 1, *s],
            mode=mode,
            antialias=1,
            coordinate_transformation_mode=c,
            id=f"antialias-{mode}-{c}-{s}",
        )
        for mode in ("linear", "cubic")
        for c in ("half_pixel", "asymmetric", "align_corners")
        for s in ([0.6, 0.6], [0.25, 0.4], [2, 0.5])
    ]
    + [
        scaled(data((1, 1, 4, 4)), [1, 1, *s], mode=mode, exclude_outside=1, id=f"exclude-{mode}-{s}")
        for mode in ("linear", "cubic")
        for s in ([2, 2], [0.8, 0.8])
    ]
    + [
        scaled(data((1, 1, 4, 4)), [1, 1, 2, 2], mode="cubic", cubic_coeff_a=-0.5),
        scaled(data((1, 1, 4, 4)), [1, 1, 2, 2], mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1, antialias=1),
        scaled(data((5,)), [2.5], mode="linear", id="1d"),
        scaled(data((2, 3, 4, 5)), [1, 2, 1.5, 0.6], mode="linear", id="3d"),
        scaled(data((2, 3, 4, 5)), [1, 2, 1.5, 0.6], mode="cubic", id="3d-cubic"),
        scaled(data((1, 6, 7, 3)), [1, 2, 1.5, 1], mode="linear", id="nhwc"),
        scaled(data((1, 2, 6, 7)), [1, 1, 2, 1], mode="linear", id="rows"),
        scaled(data((1, 2, 6, 7)), [1, 1, 1, 2], mode="linear", id="columns"),
        scaled(data((2, 3)), [2, 2], mode="linear", id="image"),
    ]
    + [
        scaled(
            data((1, 2, 7, 9), t),
            [1, 1, 4 if np.dtype(t).itemsize == 1 else 1.7, 2],
            mode=mode,
            id=f"{np.dtype(t).name}-{mode}",
            rtol=1e-2 if np.dtype(t).itemsize == 2 else 1e-5,
        )
        for t in (np.float16, np.float64, np.uint8, np.int8, np.int32, np.int64)
        for mode in ("linear", "cubic")
    ]
)
test_sizes = check(
    [
        sized(data((1, 1, 4, 5)), [1, 1, 7, 3], mode=mode, coordinate_transformation_mode=c, id=f"{mode}-{c}")
        for mode in ("nearest", "linear", "cubic")
        for c in COORDINATES
    ]
    + [
        sized(data((1, 1, 4, 6)), [7, 7], axes=[2, 3], mode="linear", keep_aspect_ratio_policy=p, id=f"{p}")
        for p in ("stretch", "not_larger", "not_smaller")
    ]
    + [
        sized(data((1, 1, 4, 6)), [8, 9], axes=[3, 2], mode="linear", expect=None, id="axes-swapped"),
        sized(
            data((1, 1, 4, 6)),
            [1, 1, 1, 1],
            mode="linear",
            coordinate_transformation_mode="pytorch_half_pixel",
            id="to-one",
        ),
        sized(
            data((1, 1, 4, 6)), [1, 1, 1, 1], mode="linear", coordinate_transformation_mode="align_corners", id="corner"
        ),
        sized(data((1, 1, 4, 6)), [1, 1, 0, 3], mode="nearest", expect=np.zeros((1, 1, 0, 3), np.float32), id="empty"),
        sized(
            data((1, 1, 4, 5)),
            [1, 1, 3, 3],
            [0, 0, 0.4, 0.6, 1, 1, 0.6, 0.8],
            mode="linear",
            coordinate_transformation_mode="tf_crop_and_resize",
            id="crop",
        ),
        sized(
            data((1, 1, 4, 5)),
            [1, 1, 3, 3],
            [0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7],
            mode="linear",
            coordinate_transformation_mode="tf_crop_and_resize",
            extrapolation_value=10.0,
            id="crop-beyond",
        ),
        sized(
            data((1, 1, 4, 5)),
            [1, 1, 3, 3],
            [0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7],
            mode="nearest",
            coordinate_transformation_mode="tf_crop_and_resize",
            extrapolation_value=10.0,
            id="crop-beyond-nearest",
        ),
        sized(
            data((1, 1, 4, 5)),
            [3, 3],
            [0.4, 0.6, 0.6, 0.8],
            axes=[2, 3],
            mode="cubic",
            coordinate_transformation_mode="tf_crop_and_resize",
            id="crop-axes",
        ),
    ]
)


def doubled(x, *_):
    return x.repeat(2, 2).repeat(2, 3)


x = data((1, 2, 3, 4))
test_versions = check(
    [
        Case("Upsample", [x], {"height_scale": 2.0, "width_scale": 2.0}, opset=1, expect=doubled),
        Case("Upsample", [x], {"scales": [1.0, 1.0, 2.0, 2.0]}, opset=7, expect=doubled),
        Case("Upsample", [x, const([1, 1, 2, 2], np.float32)], opset=9, expect=doubled),
        Case(
            "Upsample",
            [np.array([[[[1.0, 2], [3, 4]]]], np.float32), const([1, 1, 2, 2], np.float32)],
            {"mode": "linear"},
            opset=9,
            expect=np.array([[[[1, 1.5, 2, 2], [2, 2.5, 3, 3], [3, 3.5, 4, 4], [3, 3.5, 4, 4]]]], np.float32),
        ),
        raises(
            Case("Upsample", [x, const([1, 1, 2, 2], np.float32)], opset=10, expect=[]),
            "Upsample 'node'.* ended with opset 10; Resize",
        ),
        Case("Resize", [x, const([1, 1, 2, 2], np.float32)], opset=10, expect=doubled),
        Case("Resize", [x, const([1, 1, 0.5, 0.5], np.float32)], opset=10, expect=lambda x, _: x[:, :, :1, ::2]),
        Case("Resize", [x, const([], np.float32), const([1, 1, 2, 2], np.float32)], opset=11, expect=doubled),
        Case(
            "Resize", [x, const([], np.float32), const([], np.float32), const([1, 2, 6, 8])], opset=11, expect=doubled
        ),
        Case(
            "Resize",
            [x, const([], np.float32), const([1, 1, 2, 2], np.float32)],
            {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"},
            opset=11,
            expect=doubled,
        ),
        Case("Resize", [x, None, const([1, 1, 2, 2], np.float32)], opset=13, expect=doubled),
        raises(Case("Resize", [x, None, const([2, 2], np.float32)]), "2 scales for 4 axes"),
        raises(Case("Resize", [x, None, const([1, 1, -2, 2], np.float32)]), "not positive"),
        raises(Case("Resize", [x]), "neither scales nor sizes"),
        raises(Case("Resize", [x, None, const([1, 1, 2, 2], np.float32)], {"mode": "area"}), "mode is 'area'"),
        raises(Case("Resize", [x, None, const([1, 1, 1e30, 2], np.float32)]), "extent"),
        raises(Case("Resize", [np.zeros((1, 0), np.float32), None, None, const([1, 4])]), "is empty"),
    ]
)
