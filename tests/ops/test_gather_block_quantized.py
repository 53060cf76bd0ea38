"""GatherBlockQuantized against NumPy, and against onnxruntime where it has the types."""

import ml_dtypes
import numpy as np

from tests.ops.harness import check, const, raises
from tests.ops.peer import PeerCase

rng = np.random.default_rng(8)
BF16, INT4, UINT4 = ml_dtypes.bfloat16, ml_dtypes.int4, ml_dtypes.uint4
FLOAT8, FLOAT4 = ml_dtypes.float8_e4m3fn, ml_dtypes.float4_e2m1fn


def unpacked(array, bits, extent):
    parts = [(array >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(*array.shape[:-1], -1)[..., :extent]


def gathered(attrs):
    """The definition, in f64."""

    def expect(data, indices, scales, zeros=None):
        bits = attrs.get("bits", 4)
        values, zero = data.astype(np.float64), 0.0
        axis = attrs.get("quantize_axis", 1) % data.ndim
        if data.dtype == np.uint8:
            values = unpacked(data, bits, data.shape[-1] * 8 // bits).astype(np.float64)
            zero = 2.0 ** (bits - 1)
            if zeros is not None:
                zeros = unpacked(zeros, bits, scales.shape[-1])
        block = attrs.get("block_size", 128) or values.shape[axis]
        at = np.arange(values.shape[axis]) // block

        def spread(array):
            array = np.take(array.astype(np.float64), at, axis)
            return np.broadcast_to(array, values.shape)

        whole = (values - (zero if zeros is None else spread(zeros))) * spread(scales)
        gather = attrs.get("gather_axis", 0) % data.ndim
        extent = whole.shape[gather]
        inside = (indices >= -extent) & (indices < extent)
        y = np.take(whole, np.where(inside, indices, 0), gather)
        mask = inside.reshape((1,) * gather + indices.shape + (1,) * (whole.ndim - gather - 1))
        return np.where(mask, y, 0).astype(scales.dtype)

    return expect


def table(dtype, *shape):
    if dtype in (FLOAT8, FLOAT4):
        return rng.normal(size=shape).astype(np.float32).astype(dtype)
    low, high = (-8, 8) if dtype == INT4 else (0, 16) if dtype == UINT4 else (0, 256)
    return rng.integers(low, high, size=shape).astype(np.int8 if dtype != np.uint8 else np.uint8).astype(dtype)


def case(dtype, shape, indices, *, scale=np.float32, zeros=False, scale_shape=None, peer=False, **attrs):
    packed = 8 // attrs.get("bits", 4) if dtype == np.uint8 else 1
    axis = attrs.get("quantize_axis", 1) % len(shape)
    block = attrs.get("block_size", 128) or shape[axis]
    parts = list(shape)
    parts[axis] = -(-shape[axis] // block)
    inputs = [
        const(table(dtype, *shape[:-1], -(-shape[-1] // packed))),
        np.asarray(indices),
        const(rng.normal(size=scale_shape or parts).astype(scale)),
    ]
    if zeros:
        inputs.append(const(table(dtype, *parts[:-1], -(-parts[-1] // packed))))
    label = f"{np.dtype(dtype).name}-{'x'.join(map(str, shape))}-{np.asarray(indices).dtype}-{np.dtype(scale).name}"
    label += "-zeros" * zeros + "".join(f"-{k}={v}" for k, v in attrs.items()) + "-peer" * peer
    if packed > 1 and "bits" not in attrs:
        attrs["bits"] = 4
    return PeerCase(
        "GatherBlockQuantized",
        inputs,
        attrs,
        id=label,
        expect=None if peer else gathered(attrs),
        rtol=1e-6 if scale == np.float32 else 1e-2,
        atol=1e-6,
    )


ROWS = np.array([[3, 0, -1], [2, 2, -5]], np.int64)
test_gather = check(
    [case(t, (5, 48), ROWS, zeros=z, block_size=16) for t in (INT4, UINT4) for z in (False, True)]
    + [case(np.uint8, (5, 48), ROWS, zeros=z, block_size=16, bits=b) for b in (2, 4, 8) for z in (False, True)]
    + [case(t, (5, 40), ROWS, zeros=True, block_size=32, scale=s) for t in (INT4, np.uint8) for s in (np.float16, BF16)]
    + [
        case(t, (5, 6, 7), ROWS, zeros=True, block_size=16, quantize_axis=q, gather_axis=g)
        for t in (INT4, UINT4)
        for q in (0, 1, -1)
        for g in (0, 1, 2)
    ]
    + [
        case(np.uint8, (5, 20, 8), ROWS, zeros=True, block_size=16, quantize_axis=q, bits=b)
        for q in (1, 2)
        for b in (2, 4, 8)
    ]
    + [case(t, (5, 48), ROWS, block_size=b) for t in (FLOAT8, FLOAT4) for b in (0, 16)]
    + [case(FLOAT8, (5, 48), ROWS, block_size=16, scale_shape=(1, 3))]
    + [case(UINT4, (5, 300), np.int32(2)), case(UINT4, (5, 300), np.zeros((0, 2), np.int32))]
    + [case(UINT4, (5, 32), np.array([9, -6, 4]), block_size=16, zeros=True)]
)

test_gather_peer = check(
    [case(t, (5, 48), ROWS, zeros=z, block_size=16, peer=True) for t in (INT4, UINT4) for z in (False, True)]
    + [case(np.uint8, (5, 48), ROWS, zeros=z, block_size=16, bits=b, peer=True) for b in (4, 8) for z in (False, True)]
    + [case(UINT4, (5, 6, 7), ROWS, zeros=True, block_size=16, quantize_axis=0, gather_axis=2, peer=True)]
)

DATA, SCALES = const(table(UINT4, 5, 32)), const(np.ones((5, 2), np.float32))


def broken(inputs, **attrs):
    attrs.setdefault("block_size", 16)
    return PeerCase("GatherBlockQuantized", inputs, attrs, expect=[np.zeros(0)], id=str(attrs))


test_gather_refused = check(
    [
        raises(broken([DATA, ROWS, SCALES], block_size=24), "block_size is 24; a power of two from 16 on expected"),
        raises(broken([DATA, ROWS, SCALES], block_size=0), "block_size is 0"),
        raises(broken([DATA, ROWS, SCALES], bits=8), "bits is 8 for data of type u4; 4 expected"),
        raises(broken([DATA, ROWS, SCALES], gather_axis=2), "axis 2 is out of range"),
        raises(broken([DATA, ROWS, SCALES], quantize_axis=-3), "axis -3 is out of range"),
        raises(broken([DATA, ROWS, const(np.ones((5, 3), np.float32))]), r"\[5,2\] expected"),
        raises(
            broken([DATA, ROWS, SCALES, const(table(UINT4, 5, 1))]), r"zero_points has shape \[5,1\]; \[5,2\] expected"
        ),
        raises(broken([const(table(np.uint8, 5, 32)), ROWS, SCALES], gather_axis=1), "gathers on axis 1"),
        raises(
            broken([const(table(FLOAT8, 5, 32)), ROWS, SCALES, const(table(FLOAT8, 5, 2))]), "has zero points .*none"
        ),
    ]
)
