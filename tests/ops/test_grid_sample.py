"""GridSample, AffineGrid, RoiAlign, MaxRoiPool, NonMaxSuppression."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises
from tests.ops.peer import PeerCase

rng = np.random.default_rng(1)


def data(shape, dtype=np.float32, low=-1.3, high=1.3):
    return np.asarray(rng.uniform(low, high, shape)).astype(dtype)


def judged(mode, padding):
    """Mode cubic clamps what it reads at the border, as PyTorch and onnxruntime do; the reference clamps positions."""
    return PeerCase if mode == "cubic" and padding == "border" else Case


def inside(mode, padding):
    return 0.7 if mode == "cubic" and padding == "border" else 1.3


test_grid_sample = check(
    [
        judged(m, p)(
            "GridSample",
            [data((2, 2, 4, 5)), data((2, 3, 3, 2))],
            {"mode": m, "padding_mode": p, "align_corners": a},
            domain="",
            rtol=1e-4,
            atol=1e-5,
        )
        for m in ("nearest", "linear", "cubic")
        for p in ("zeros", "border", "reflection")
        for a in (0, 1)
    ]
    + [
        Case(
            "GridSample",
            [data((1, 2, 3, 4, 5)), data((1, 2, 2, 3, 3), low=-inside(m, p), high=inside(m, p))],
            {"mode": m, "padding_mode": p},
            rtol=1e-4,
            atol=1e-5,
        )
        for m in ("nearest", "linear", "cubic")
        for p in ("zeros", "border", "reflection")
    ]
    + [
        Case("GridSample", [data((1, 1, 6)), data((1, 4, 1))], rtol=1e-4, atol=1e-5),
        Case("GridSample", [data((1, 2, 4, 5), np.float64), data((1, 3, 3, 2), np.float64)], rtol=1e-5, atol=1e-6),
        Case("GridSample", [data((1, 2, 4, 5), np.float16), data((1, 3, 3, 2), np.float32)], rtol=1e-2, atol=1e-2),
        Case(
            "GridSample",
            [data((1, 1, 4, 5)), np.array([[[[np.nan, 0], [np.inf, 0], [0, -np.inf]]]], np.float32)],
            expect=np.zeros((1, 1, 1, 3), np.float32),
        ),
        Case(
            "GridSample",
            [data((1, 1, 1, 1)), data((1, 2, 2, 2))],
            {"padding_mode": "reflection", "align_corners": 1},
            expect=lambda x, g: np.full((1, 1, 2, 2), x.item(), np.float32),
        ),
        Case("GridSample", [data((1, 1, 4, 5)), data((1, 0, 3, 2))], expect=np.zeros((1, 1, 0, 3), np.float32)),
        raises(Case("GridSample", [data((1, 1, 4, 5)), data((1, 3, 3, 3))]), "coordinates expected|of the same rank"),
        raises(Case("GridSample", [data((1, 1, 4, 5)), data((1, 3, 3, 2))], {"mode": "area"}), "mode is 'area'"),
    ]
)


def same_as_newest(mode):
    """Opset 16 has other names for the modes."""
    x, grid = data((1, 2, 4, 5)), data((1, 3, 3, 2))
    newest = Case("GridSample", [x, grid], {"mode": {"bilinear": "linear", "bicubic": "cubic"}[mode]}).expected()
    return Case("GridSample", [x, grid], {"mode": mode}, opset=16, expect=newest, rtol=1e-4, atol=1e-5)


def affine(align):
    def coordinates(n):
        return np.linspace(-1, 1, n) if align else (2 * np.arange(n) + 1) / n - 1

    def expected(theta, size):
        axes = [coordinates(int(n)) for n in size[2:]]
        grid = np.stack([*np.meshgrid(*axes, indexing="ij")][::-1] + [np.ones([int(n) for n in size[2:]])], -1)
        return np.einsum("nij,...j->n...i", theta.astype(np.float64), grid).astype(theta.dtype)

    return expected


test_versions = check([same_as_newest("bilinear"), same_as_newest("bicubic")])
test_affine_grid = check(
    [
        Case(
            "AffineGrid",
            [data((2, len(size), len(size) + 1), t), const([2, 3, *size])],
            {"align_corners": a},
            expect=affine(a),
            rtol=2e-2 if t == np.float16 else 1e-5,
            atol=1e-6 if t != np.float16 else 1e-2,
        )
        for size in ([5, 6], [4, 5, 6])
        for a in (0, 1)
        for t in (np.float32, np.float64, np.float16)
    ]
    + [
        raises(Case("AffineGrid", [data((2, 2, 3)), const([3, 1, 4, 4])]), "theta has shape"),
        raises(Case("AffineGrid", [data((2, 2, 3)), const([2, 4, 4])]), "extents; 4"),
    ]
)

image = data((2, 3, 10, 12), np.float32, 0, 5)
rois = np.array([[0, 0, 9, 9], [2.5, 3.1, 7.2, 8.8], [-3, -2, 20, 30], [5, 5, 5, 5], [8, 8, 2, 2]], np.float32)
batch = np.array([0, 1, 1, 0, 1])
test_roi_align = check(
    [
        Case(
            "RoiAlign",
            [image, rois, batch],
            {
                "output_height": 3,
                "output_width": 4,
                "sampling_ratio": r,
                "spatial_scale": s,
                "mode": m,
                "coordinate_transformation_mode": c,
            },
            rtol=1e-4,
            atol=1e-5,
        )
        for r in (0, 2)
        for s in (1.0, 0.5)
        for m in ("avg", "max")
        for c in ("half_pixel", "output_half_pixel")
    ]
    + [
        Case("RoiAlign", [image, rois[:0], batch[:0]], expect=np.zeros((0, 3, 1, 1), np.float32)),
        Case(
            "RoiAlign",
            [image, rois, batch],
            {"output_height": 2, "output_width": 2},
            opset=10,
            expect=Case(
                "RoiAlign",
                [image, rois, batch],
                {"output_height": 2, "output_width": 2, "coordinate_transformation_mode": "output_half_pixel"},
            ).expected(),
            rtol=1e-4,
            atol=1e-5,
        ),
        raises(Case("RoiAlign", [image, rois, batch + 1]), "batch_indices.* is 2"),
        raises(Case("RoiAlign", [image, np.array([[0, 0, 1e30, 1e30]], np.float32), batch[:1]]), "too large"),
        raises(Case("RoiAlign", [image, rois[:, :3], batch]), "rois has shape"),
    ]
)


def max_roi_pool(pooled, scale=1.0):
    def expected(x, rois):
        y = np.zeros((len(rois), x.shape[1], *pooled), np.float64)
        for r, roi in enumerate(rois.astype(np.float64)):
            x1, y1, x2, y2 = (int(np.floor(v * scale + 0.5)) for v in roi[1:])
            h, w = max(y2 - y1 + 1, 1) / pooled[0], max(x2 - x1 + 1, 1) / pooled[1]
            for i, j in np.ndindex(*pooled):
                rows = slice(*np.clip([int(np.floor(i * h)) + y1, int(np.ceil((i + 1) * h)) + y1], 0, x.shape[2]))
                columns = slice(*np.clip([int(np.floor(j * w)) + x1, int(np.ceil((j + 1) * w)) + x1], 0, x.shape[3]))
                part = x[int(roi[0]), :, rows, columns]
                if part.size:
                    y[r, :, i, j] = part.max((1, 2))
        return y.astype(x.dtype)

    return expected


regions = np.array([[0, 0, 0, 9, 9], [1, 2, 3, 7, 8], [1, 8, 8, 20, 20], [0, 5, 5, 5, 5]], np.float32)
test_max_roi_pool = check(
    [
        Case(
            "MaxRoiPool",
            [image.astype(t), regions.astype(t)],
            {"pooled_shape": [3, 2], "spatial_scale": s},
            expect=max_roi_pool((3, 2), s),
        )
        for t in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
        for s in (1.0, 0.5)
    ]
    + [
        raises(Case("MaxRoiPool", [image, regions + 1], {"pooled_shape": [3, 2]}), "of image 2"),
        raises(Case("MaxRoiPool", [image, regions], {"pooled_shape": [3]}), "pooled_shape"),
    ]
)

corners = np.sort(rng.uniform(0, 10, (2, 30, 2, 2)).astype(np.float32), 2).reshape(2, 30, 4)
centers = rng.uniform(1, 10, (2, 30, 4)).astype(np.float32)
scores = rng.uniform(0, 1, (2, 3, 30)).astype(np.float32)


def nms(boxes, scores, most, iou, score=None, **attrs):
    inputs = [boxes, scores, const([most], np.int64), const([iou], np.float32)]
    return Case("NonMaxSuppression", inputs + ([] if score is None else [const([score], np.float32)]), attrs)


test_non_max_suppression = check(
    [nms(corners, scores, m, i, s) for m in (1, 5, 100) for i in (0.1, 0.5, 1.0) for s in (None, 0.3, 2.0)]
    + [nms(centers, scores, m, i, 0.2, center_point_box=1) for m in (3, 100) for i in (0.0, 0.5)]
    + [
        nms(np.roll(corners, 2, -1), scores, 10, 0.4),
        nms(corners, np.round(scores, 1), 20, 0.4),
        Case("NonMaxSuppression", [corners, scores], expect=np.zeros((0, 3), np.int64)),
        Case("NonMaxSuppression", [corners, scores, const([0])], opset=10, expect=np.zeros((0, 3), np.int64)),
        Case("NonMaxSuppression", [corners[:, :0], scores[:, :, :0], const([5])], expect=np.zeros((0, 3), np.int64)),
        raises(nms(corners, scores[:, :, :5], 1, 0.5), "scores has shape"),
        raises(nms(corners, scores, 1, 1.5), "iou_threshold is 1.5"),
    ]
)
