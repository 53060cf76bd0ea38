"""Gradients of what slides, samples or resizes: convolutions, pools, images, regions and signals."""

import numpy as np

from tests.gradients.harness import Case, away, parametrize, positive

I64 = np.int64
IMAGE = away((2, 3, 4, 5), 2)

CONVOLUTIONS = [
    Case("ConvTranspose", [away((2, 2, 3, 4), 1), away((2, 3, 3, 2), 2), away((3,), 3)], {"strides": [2, 1]}),
    Case(
        "ConvTranspose",
        [away((1, 4, 3, 2), 1), away((4, 1, 2, 3), 2)],
        {"group": 2, "strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 0], "dilations": [2, 1]},
        id="groups",
    ),
    Case("ConvTranspose", [away((2, 2, 5), 1), away((2, 2, 3), 2)], {"strides": [2], "output_shape": [9]}, id="shape"),
    Case(
        "ConvTranspose", [away((2, 2, 5), 1), away((2, 2, 3), 2)], {"strides": [2], "auto_pad": "SAME_LOWER"}, id="same"
    ),
    Case("Col2Im", [away((2, 12, 6), 4), np.array([3, 5], I64), np.array([2, 3], I64)], constant=[1, 2]),
    Case(
        "Col2Im",
        [away((1, 8, 6), 4), np.array([4, 5], I64), np.array([2, 2], I64)],
        {"pads": [0, 1, 1, 1], "strides": [2, 2], "dilations": [1, 2]},
        constant=[1],
        id="attributes",
    ),
    Case("Col2Im", [away((2, 3, 4), 4), np.array([6], I64), np.array([3], I64)], constant=[1], id="line"),
    Case(
        "DeformConv",
        [
            away((2, 2, 4, 5), 1),
            away((3, 2, 2, 2), 2),
            away((2, 8, 3, 4), 3, 0.1, 0.4),
            away((3,), 4),
            positive((2, 4, 3, 4), 5),
        ],
        {"kernel_shape": [2, 2]},
    ),
    Case(
        "DeformConv",
        [away((1, 4, 5, 4), 1), away((2, 2, 2, 3), 2), away((1, 24, 3, 4), 3, 0.1, 0.4)],
        {
            "kernel_shape": [2, 3],
            "group": 2,
            "offset_group": 2,
            "pads": [1, 1, 0, 1],
            "strides": [2, 1],
            "dilations": [1, 1],
        },
        id="groups",
    ),
]

POOLS = [
    *(
        Case("LpPool", [away((2, 2, 5, 4), 6)], {"kernel_shape": [2, 3], "p": p, "pads": [1, 0, 0, 1]}, id=str(p))
        for p in (1, 2, 3)
    ),
    Case("LpPool", [away((1, 2, 7), 6)], {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}, id="ceil"),
    *(Case("GlobalLpPool", [IMAGE], {"p": p}, id=str(p)) for p in (1, 2, 3)),
    Case(
        "MaxUnpool",
        [away((1, 2, 2, 2), 7), np.array([[[[0, 3], [9, 10]], [[16, 19], [24, 31]]]], I64)],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    Case(
        "MaxUnpool",
        [away((1, 1, 2, 2), 7), np.array([[[[0, 3], [9, 10]]]], I64), np.array([1, 1, 5, 6], I64)],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        id="larger",
    ),
    Case(
        "MaxRoiPool",
        [away((2, 2, 6, 7), 8), np.array([[0, 1, 1, 5, 4], [1, 0, 0, 3, 3], [0, 2, 0, 6, 5]], float)],
        {"pooled_shape": [2, 3]},
        fixed=[1],
    ),
    *(
        Case(
            "RoiAlign",
            [
                away((2, 2, 6, 7), 9),
                np.array([[0.5, 0.7, 4.1, 3.9], [1.2, 0.1, 5.8, 5.3], [0, 0, 2, 2]]),
                np.array([1, 0, 0], I64),
            ],
            {"mode": mode, "sampling_ratio": ratio, "output_height": 2, "output_width": 3, **more},
            fixed=[1],
            second=mode == "avg",
            id=f"{mode}-{ratio}",
        )
        for mode in ("avg", "max")
        for ratio, more in [(0, {}), (2, {"coordinate_transformation_mode": "output_half_pixel"})]
    ),
]

GRID = away((2, 3, 2, 2), 10, 0.05, 1.2)
SAMPLES = [
    *(
        Case(
            "GridSample",
            [IMAGE, GRID],
            {"mode": mode, "padding_mode": padding, "align_corners": align},
            fixed=[1] if mode == "nearest" else [],
            id=f"{mode}-{padding}-{align}",
        )
        for mode in ("nearest", "linear", "cubic")
        for padding in ("zeros", "border", "reflection")
        for align in (0, 1)
    ),
    Case("GridSample", [away((1, 2, 3, 2, 3), 11), away((1, 2, 1, 2, 3), 12, 0.05, 0.9)], id="volume"),
    Case("GridSample", [away((2, 2, 5), 11), away((2, 3, 1), 12, 0.05, 0.9)], {"mode": "cubic"}, id="line"),
    *(
        Case(
            "AffineGrid",
            [away((2, 2, 3), 13), np.array([2, 3, 3, 4], I64)],
            {"align_corners": align},
            constant=[1],
            id=str(align),
        )
        for align in (0, 1)
    ),
    Case("AffineGrid", [away((1, 3, 4), 13), np.array([1, 2, 2, 3, 2], I64)], constant=[1], id="volume"),
]


def resize(size: list[int], id: str, x: np.ndarray = IMAGE, **attrs: object) -> Case:
    return Case("Resize", [x, None, None, np.array(size, I64)], attrs, id=id)


RESIZES = [
    resize([2, 3, 7, 6], "up"),
    resize([2, 3, 3, 2], "down", nearest_mode="ceil", coordinate_transformation_mode="asymmetric"),
    resize([2, 3, 6, 7], "linear", mode="linear"),
    resize([2, 3, 2, 3], "antialias", mode="linear", antialias=1),
    resize([2, 3, 7, 9], "cubic", mode="cubic", coordinate_transformation_mode="align_corners"),
    resize([2, 3, 5, 3], "exclude", mode="cubic", exclude_outside=1, antialias=1),
    resize([3, 4, 2], "axes", x=away((2, 3, 2), 3), mode="linear", axes=[0, 1, 2]),
    resize([5, 6], "two-axes", mode="linear", axes=[2, 1]),
    Case("Resize", [IMAGE, None, np.array([1, 1, 2, 1.5], np.float32)], {"mode": "linear"}, id="scales"),
    Case(
        "Resize",
        [IMAGE, np.array([0, 0, 0.2, -0.3, 1, 1, 0.7, 1.2], np.float32), None, np.array([2, 3, 5, 6], I64)],
        {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 3.0},
        id="crop",
    ),
    Case("Upsample", [IMAGE, np.array([1, 1, 2, 3], np.float32)], {"mode": "linear"}, opset=9),
]

SIGNAL = away((2, 7, 2), 14)
SIGNALS = [
    *(
        Case("DFT", [x, *length], {"inverse": i}, id=f"{x.shape[-1]}-{i}-{length}")
        for x in (SIGNAL, SIGNAL[:, :, :1])
        for i in (0, 1)
        for length in ([], [np.array(9, I64)], [np.array(5, I64)])
    ),
    *(
        Case("DFT", [x, np.array(n, I64)], {"onesided": 1}, id=f"half-{n}")
        for x, n in [(SIGNAL[:, :, :1], 7), (SIGNAL[:, :, :1], 8), (SIGNAL[:, :, :1], 4)]
    ),
    Case("DFT", [away((3, 4, 2, 1), 15), None, np.array(1, I64)], {"onesided": 1}, constant=[2], id="axis"),
    *(Case("DFT", [SIGNAL, *n], {"onesided": 1, "inverse": 1}, id=f"back-{n}") for n in ([], [np.array(7, I64)])),
    Case("STFT", [away((2, 9, 1), 16), np.array(2, I64), positive((4,), 17)]),
    Case("STFT", [away((1, 9, 2), 16), np.array(3, I64), None, np.array(5, I64)], {"onesided": 0}, id="complex"),
]


@parametrize(CONVOLUTIONS)
def test_convolutions(case: Case) -> None:
    case.run()


@parametrize(POOLS)
def test_pools(case: Case) -> None:
    case.run()


@parametrize(SAMPLES)
def test_samples(case: Case) -> None:
    case.run()


@parametrize(RESIZES)
def test_resizes(case: Case) -> None:
    case.run()


@parametrize(SIGNALS)
def test_signals(case: Case) -> None:
    case.run()
