"""DFT, STFT, window functions, MelWeightMatrix, Det."""

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

import sardonyx as sx
from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(1)


def data(shape, dtype=np.float32):
    return np.asarray(rng.uniform(-1, 1, shape)).astype(dtype)


def parts(z, dtype):
    return np.stack([z.real, z.imag], -1).astype(dtype)


def dft(axis=-2, inverse=False, onesided=False):
    def expected(x, length=None, given_axis=None):
        at = int(axis if given_axis is None else given_axis) % x.ndim
        z = x[..., 0].astype(complex) + (1j * x[..., 1] if x.shape[-1] == 2 else 0)
        n = None if length is None else int(length)
        if inverse and onesided:
            return np.fft.irfft(z, n, at)[..., None].astype(x.dtype)
        y = (np.fft.ifft if inverse else np.fft.fft)(z, n, at)
        if onesided:
            y = np.take(y, range(y.shape[at] // 2 + 1), at)
        return parts(y, x.dtype)

    return expected


def case(x, length=None, axis=None, inverse=0, onesided=0, **options):
    inputs = [x]
    if length is not None or axis is not None:
        inputs.append(None if length is None else const(length, np.int64))
    if axis is not None:
        inputs.append(const(axis, np.int64))
    expect = dft(-2 if axis is None else axis, inverse == 1, onesided == 1)
    tolerance = 1e-2 if x.dtype.itemsize == 2 else 1e-4
    return Case(
        "DFT",
        inputs,
        {"inverse": inverse, "onesided": onesided},
        expect=expect,
        rtol=tolerance,
        atol=tolerance,
        **options,
    )


LENGTHS = [1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 31, 37, 49, 60, 64, 97, 100, 128, 400, 1009]
test_lengths = check([case(data((2, n, 2)), inverse=i, id=f"{n}-{i}") for n in LENGTHS for i in (0, 1)])
test_dft = check(
    [case(data((2, n, 1)), onesided=1, id=f"real-{n}") for n in (1, 2, 7, 16, 37)]
    + [case(data((2, n, 2)), inverse=1, onesided=1, id=f"irfft-{n}") for n in (2, 5, 9, 20)]
    + [case(data((3, 8, 5, 2)), axis=axis, id=f"axis-{axis}") for axis in (0, 1, 2, -2, -3)]
    + [
        case(data((2, 10, 1)), 16, id="padded"),
        case(data((2, 10, 1)), 7, id="cut"),
        case(data((2, 10, 2)), 7, inverse=1, onesided=1, id="irfft-cut"),
        case(data((2, 10, 2), np.float64), id="f64"),
        case(data((2, 10, 2), np.float16), id="f16"),
        Case("DFT", [data((2, 8, 3, 1))], {"axis": 1}, opset=17, expect=dft(1), rtol=1e-4, atol=1e-4),
        Case(
            "DFT",
            [data((2, 8, 3, 1)), const(6)],
            {"axis": 2, "onesided": 1},
            opset=17,
            expect=dft(2, onesided=True),
            rtol=1e-4,
            atol=1e-4,
        ),
        Case("DFT", [data((2, 8, 3, 2))], opset=19, expect=dft(1), rtol=1e-4, atol=1e-4),
        raises(case(data((2, 8, 2)), axis=-1), "last one"),
        raises(case(data((2, 8, 2)), 0), "length 0|would have the shape"),
        raises(case(data((2, 8, 3))), "last axis of 1"),
    ]
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("inverse", [0, 1])
def test_accuracy(dtype, inverse):
    """The error is at most half of epsilon * log2(length) of the spectrum's norm; most often a third."""
    for n in [2, 9, 10, 25, 64, 97, 210, 400, 961, 1009, 1024, 6000, 8192]:
        x = data((3, n, 2), dtype)
        z = x[..., 0].astype(np.clongdouble) + 1j * x[..., 1]
        expected = (np.fft.ifft if inverse else np.fft.fft)(z)
        model = case(x, inverse=inverse).model(initializers=True, symbolic=False)
        (y,) = sx.InferenceSession(model).run(None, {"x0": x})
        error = np.linalg.norm(y[..., 0] + 1j * y[..., 1] - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert error.max() <= 0.5 * np.finfo(dtype).eps * max(1, np.log2(n))


@pytest.mark.parametrize("n", [2, 5, 12, 101])
def test_spectra_of_real_signals_are_symmetric(n):
    x = data((2, n, 1))
    (y,) = sx.InferenceSession(case(x).model(initializers=True, symbolic=False)).run(None, {"x0": x})
    z = y[..., 0] + 1j * y[..., 1]
    np.testing.assert_array_equal(z[:, 1:], np.conj(z[:, :0:-1]))
    assert not np.any(z[:, 0].imag)


def test_a_line_does_not_depend_on_its_neighbours():
    for n in (3, 8, 100, 1009):
        x = data((40, n, 2))
        model = case(x).model(initializers=True, symbolic=True)
        session = sx.InferenceSession(model)
        (whole,) = session.run(None, {"x0": x})
        for k in (0, 7, 39):
            np.testing.assert_array_equal(session.run(None, {"x0": x[k : k + 1]})[0][0], whole[k])


def stft(x, step, window=None, length=None, onesided=True):
    n = int(length) if length is not None else len(window)
    z = x[..., 0].astype(complex) + (1j * x[..., 1] if x.shape[-1] == 2 else 0)
    frames = np.stack([z[:, i : i + n] for i in range(0, z.shape[1] - n + 1, int(step))], 1)
    y = np.fft.fft(frames * (1 if window is None else window.astype(np.float64)))
    return parts(y[..., : n // 2 + 1] if onesided else y, x.dtype)


test_stft = check(
    [
        Case("STFT", [data((2, 128, 1)), const(8), data((16,))], expect=stft, rtol=1e-4, atol=1e-4),
        Case("STFT", [data((2, 128, 1)), const(7), None, const(20)], expect=stft, rtol=1e-4, atol=1e-4),
        Case(
            "STFT",
            [data((1, 100, 1)), const(10, np.int32), data((40,)), const(40, np.int32)],
            expect=stft,
            rtol=1e-4,
            atol=1e-4,
        ),
        Case(
            "STFT",
            [data((1, 100, 2)), const(10), data((40,))],
            {"onesided": 0},
            expect=lambda *a: stft(*a, onesided=False),
            rtol=1e-4,
            atol=1e-4,
        ),
        raises(Case("STFT", [data((1, 100, 1)), const(0), data((40,))]), "frame_step is 0"),
        raises(Case("STFT", [data((1, 10, 1)), const(1), data((40,))]), "frame_length is 40"),
    ]
)


def cosine(kind, periodic):
    def expected(size):
        n = int(size)
        t = 2 * np.pi * np.arange(n) / (n if periodic else n - 1)
        return {
            "HannWindow": 0.5 - 0.5 * np.cos(t),
            "HammingWindow": 25 / 46 - 21 / 46 * np.cos(t),
            "BlackmanWindow": 0.42 - 0.5 * np.cos(t) + 0.08 * np.cos(2 * t),
        }[kind]

    return expected


OUTPUTS = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
}
test_windows = check(
    [
        Case(
            kind,
            [const(10, t)],
            {"periodic": p, "output_datatype": d},
            expect=lambda n, k=kind, p=p, d=d: cosine(k, p)(n).astype(OUTPUTS[d]),
            atol=1e-6,
        )
        for kind in ("HannWindow", "HammingWindow", "BlackmanWindow")
        for p in (0, 1)
        for d, t in [(TensorProto.FLOAT, np.int64), (TensorProto.DOUBLE, np.int32), (TensorProto.BFLOAT16, np.int64)]
    ]
    + [
        Case("HannWindow", [const(0)], expect=np.zeros(0, np.float32)),
        Case("HannWindow", [const(1)], {"periodic": 0}, expect=np.ones(1, np.float32)),
        raises(Case("HannWindow", [const(-1)]), "size is -1"),
    ]
)


def mel(*values, **attrs):
    kinds = [np.int64] * 3 + [np.float32] * 2
    return Case("MelWeightMatrix", [const(v, t) for v, t in zip(values, kinds)], attrs)


test_mel = check(
    [
        mel(8, 16, 8192, 0, 8192 / 2),
        mel(20, 400, 16000, 20, 7600),
        mel(0, 16, 8192, 0, 4096),
        mel(8, 16, 8192, 0, 4096, output_datatype=TensorProto.DOUBLE),
        raises(mel(8, 16, 8192, 0, 1e6), "outside of the spectrum"),
        raises(mel(8, 16, 0, 0, 100), "sample_rate is 0"),
    ]
)
test_det = check(
    [
        Case(
            "Det",
            [data(shape, t)],
            expect=lambda x: np.linalg.det(x.astype(np.float64)).astype(x.dtype),
            rtol=1e-2 if np.dtype(t).itemsize == 2 else 1e-4,
            atol=1e-5,
        )
        for shape in [(2, 2), (3, 4, 4), (2, 3, 7, 7), (5, 1, 1)]
        for t in (np.float32, np.float64, np.float16)
    ]
    + [
        Case("Det", [np.zeros((3, 3), np.float32)], expect=np.array(0, np.float32)),
        Case("Det", [np.zeros((2, 0, 0), np.float32)], expect=np.ones(2, np.float32)),
        Case(
            "Det",
            [data((3, 3))],
            opset=11,
            expect=lambda x: np.linalg.det(x.astype(np.float64)).astype(x.dtype),
            rtol=1e-4,
        ),
        raises(Case("Det", [data((3, 4))]), "square"),
    ]
)


test_precision = check(
    [Case("DFT", [data((1, n, 2), np.float64)], expect=dft(), rtol=1e-9, atol=1e-9) for n in (4093, 4096)]
)
