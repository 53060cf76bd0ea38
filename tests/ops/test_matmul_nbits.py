"""MatMulNBits and MatMulBnb4 against onnxruntime, and against the product with the dequantized weights."""

import ml_dtypes
import numpy as np
import pytest

from tests.ops.harness import check, compare, const, raises, session
from tests.ops.peer import PeerCase

rng = np.random.default_rng(7)
BF16 = ml_dtypes.bfloat16


def real(*shape, dtype=np.float32):
    return rng.normal(size=shape).astype(dtype)


def codes(n, k, bits, block):
    return rng.integers(0, 256, size=(n, -(-k // block), block * bits // 8)).astype(np.uint8)


def unpack(packed, bits, count):
    """Codes [rows, count] from bytes [rows, ...], low bits first."""
    rows = packed.reshape(len(packed), -1)
    parts = [(rows >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(len(rows), -1)[:, :count]


def dequantized(b, scales, zeros, groups, n, k, bits, block):
    blocks = -(-k // block)
    values = unpack(b, bits, k).astype(np.float64)
    at = np.arange(k) // block if groups is None else groups
    if zeros is None:
        zero = np.full((n, blocks), 2.0 ** (bits - 1))
    elif zeros.dtype == np.uint8:
        zero = unpack(zeros.reshape(n, -1), bits, blocks).astype(np.float64)
    else:
        zero = zeros.reshape(n, blocks).astype(np.float64)
    return (values - zero[:, at]) * scales.reshape(n, blocks).astype(np.float64)[:, at]


def product(n, k, bits, block):
    """The exact product, rounded to the type of A."""

    def expect(a, b, scales, zeros=None, groups=None, bias=None):
        y = a.astype(np.float64) @ dequantized(b, scales, zeros, groups, n, k, bits, block).T
        return (y if bias is None else y + bias.astype(np.float64)).astype(a.dtype)

    return expect


def nbits(shape, n, bits, block, *, dtype=np.float32, zeros=None, groups=False, bias=False, peer=False, attrs=None):
    k = shape[-1]
    blocks = -(-k // block)
    inputs = [
        real(*shape, dtype=dtype),
        const(codes(n, k, bits, block)),
        const(real(n, blocks, dtype=dtype) * dtype(0.1)),
    ]
    if zeros == "packed":
        inputs.append(const(rng.integers(0, 256, size=(n, -(-blocks * bits // 8))).astype(np.uint8)))
    elif zeros == "plain":
        inputs.append(const((real(n, blocks) + 2 ** (bits - 1)).astype(dtype)))
    if groups:
        inputs += [None] * (4 - len(inputs))
        inputs.append(const(rng.integers(0, blocks, size=k).astype(np.int32)))
    if bias:
        inputs += [None] * (5 - len(inputs))
        inputs.append(const(real(n, dtype=dtype)))
    tolerance = {np.float32: 1e-4, np.float16: 4e-3, BF16: 2e-2}[dtype]
    label = f"{'x'.join(map(str, shape))}-{n}-{bits}bit-{block}-{np.dtype(dtype).name}"
    label += f"-{zeros}" * (zeros is not None) + "-g_idx" * groups + "-bias" * bias + "-peer" * peer
    return PeerCase(
        "MatMulNBits",
        inputs,
        {"K": k, "N": n, "bits": bits, "block_size": block, **(attrs or {})},
        rtol=tolerance,
        atol=tolerance,
        expect=None if peer else product(n, k, bits, block),
        id=label,
    )


# Rows on both sides of the change from rows to panels; N and K that are no multiples of anything.
test_nbits = check(
    [
        nbits((m, 70), 37, bits, 16, zeros=zeros)
        for bits in (2, 4, 8)
        for zeros in (None, "packed", "plain")
        for m in (1, 3, 11)
    ]
    + [nbits((1, 515), 66, 4, 32, bias=True), nbits((20, 515), 66, 4, 32, zeros="packed", bias=True)]
    + [nbits((2, 3, 96), 129, 8, 32), nbits((64,), 16, 4, 64), nbits((0, 64), 16, 4, 64), nbits((1, 20), 3, 4, 128)]
    + [nbits((2, 64), 24, bits, 32, dtype=dtype, zeros="packed") for bits in (2, 4, 8) for dtype in (np.float16, BF16)]
    + [nbits((2, 64), 24, 4, 32, dtype=np.float16, zeros="plain", bias=True)]
    + [
        nbits((3, 80), 24, bits, 16, zeros=zeros, groups=True)
        for bits in (2, 4, 8)
        for zeros in (None, "packed", "plain")
    ]
)

test_nbits_peer = check(
    [nbits((3, 70), 37, 4, 16, zeros=zeros, peer=True) for zeros in (None, "packed")]
    + [nbits((1, 256), 64, 8, 32, zeros=zeros, peer=True) for zeros in (None, "packed")]
    + [nbits((1, 256), 64, 4, 32, bias=True, peer=True, attrs={"accuracy_level": 1})]
)

FP4 = np.array([0, 0.0625 / 12, 8 / 12, 1, 4 / 12, 0.5, 2 / 12, 0.25])
FP4 = np.concatenate([FP4, -FP4])


def bnb4(shape, n, k, block, kind, *, dtype=np.float32, trans=1, expect=None):
    inputs = [
        real(*shape, dtype=dtype),
        const(rng.integers(0, 256, size=(n * k + 1) // 2).astype(np.uint8)),
        const(np.abs(real(-(-n * k // block), dtype=dtype))),
    ]
    attrs = {"K": k, "N": n, "block_size": block, "quant_type": kind, **({} if trans else {"transB": 0})}
    tolerance = 1e-4 if dtype == np.float32 else 2e-2
    return PeerCase("MatMulBnb4", inputs, attrs, rtol=tolerance, atol=tolerance, expect=expect)


def bnb4_product(n, k, block, trans=1):
    """A FP4 product by the formula."""

    def expect(a, b, scales):
        order = np.stack([b >> 4, b & 15], -1).reshape(-1)[: n * k]
        weights = (FP4[order] * scales.astype(np.float64)[np.arange(n * k) // block]).reshape(n, k)
        return (a.astype(np.float64) @ (weights.T if trans else weights)).astype(a.dtype)

    return expect


test_bnb4 = check(
    [bnb4((m, 64), 37, 64, 32, kind) for m in (1, 5, 17) for kind in (0, 1)]
    + [bnb4((2, 3, 40), 21, 40, 16, kind) for kind in (0, 1)]  # blocks that straddle rows
    + [bnb4((2, 21), 3, 21, 16, 0)]
    + [bnb4((3, 32), 32, 48, 16, 0, trans=0, expect=bnb4_product(32, 48, 16, 0))]
    + [bnb4((3, 48), 32, 48, 16, 0, dtype=d, expect=bnb4_product(32, 48, 16)) for d in (np.float16, BF16)]
)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zeros", [None, "packed"])
def test_rows_do_not_depend_on_their_number(bits, zeros):
    case = nbits((40, 330), 50, bits, 16, zeros=zeros, bias=True)
    whole = session(case.model(initializers=True, symbolic=True), "ORT_ENABLE_ALL")
    a = case.inputs[0]
    expected = whole.run(None, {"x0": a})[0]
    for first, count in ((0, 1), (1, 2), (3, 5), (8, 8), (16, 24)):
        found = whole.run(None, {"x0": a[first : first + count]})[0]
        np.testing.assert_array_equal(found, expected[first : first + count])


def test_the_product_of_the_dequantized_weights_has_the_same_bits():
    case = nbits((1, 330), 50, 4, 32, zeros="packed")
    a, b, scales, zeros = (x.value if hasattr(x, "value") else x for x in case.inputs)
    parts = [unpack(b, 4, 330).astype(np.float32), unpack(zeros, 4, 11).astype(np.float32)]
    at = np.arange(330) // 32
    weights = (parts[0] - parts[1][:, at]) * scales[:, at]
    plain = PeerCase("MatMul", [a, const(np.ascontiguousarray(weights.T))], domain="")
    found = session(case.model(initializers=True, symbolic=False), "ORT_ENABLE_ALL").run(None, {"x0": a})
    expected = session(plain.model(initializers=True, symbolic=False), "ORT_ENABLE_ALL").run(None, {"x0": a})
    compare(found[0], expected[0], rtol=0, atol=0)


def broken(index, value=None, **attrs):
    case = nbits((2, 64), 24, 4, 32, zeros="packed")
    inputs = list(case.inputs)
    if value is not None:
        inputs[index] = value
    return PeerCase("MatMulNBits", inputs, {**case.attrs, **attrs}, expect=[np.zeros(0)], id=f"{index}-{attrs}")


test_nbits_refused = check(
    [
        raises(broken(0, bits=3), r"MatMulNBits 'node'.*bits is 3; 2, 4 or 8 expected"),
        raises(broken(0, block_size=24), "block_size is 24; a power of two from 16 on expected"),
        raises(broken(0, block_size=8), "block_size is 8"),
        raises(broken(0, block_size=-32), "block_size is -32"),
        raises(broken(0, block_size=2**62), "does not fit in 64 bits"),
        raises(broken(0, K=2**62), "does not fit in 64 bits"),
        raises(broken(0, K=0), "K is 0"),
        raises(broken(0, N=-1), "N is -1"),
        raises(broken(0, N=25), "B .*800 elements expected"),
        raises(broken(0, real(2, 63)), "a last extent of 64 expected"),
        raises(broken(0, real()), "a last extent of 64 expected"),
        raises(broken(2, const(real(24, 3))), "scales .*48 elements expected"),
        raises(broken(3, const(np.zeros((24, 2), np.uint8))), "zero_points .*24 elements expected"),
        raises(broken(0, weight_prepacked=1), "weight_prepacked is 1"),
    ]
)


def test_a_group_out_of_range_is_refused():
    case = nbits((3, 80), 24, 4, 16, groups=True)
    case.inputs[4].value[7] = 5
    raises(case, r"g_idx holds 5; expected 0..4").run()
