"""Binary and variadic arithmetic, comparison, selection: broadcasting, wrap-around, special numbers, old opsets."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(2)
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
SIGNED = [np.int8, np.int16, np.int32, np.int64]
UNSIGNED = [np.uint8, np.uint16, np.uint32, np.uint64]
SHAPES = [
    ((3, 4), (3, 4)),
    ((3, 4), ()),
    ((), (3, 4)),
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((2, 3, 4), (3, 1)),
    ((2, 1, 4), (1, 3, 1)),
    ((5, 1, 3, 1, 2), (4, 1, 7, 1)),
    ((1, 1), (1,)),
    ((0, 3), (1, 3)),
    ((), ()),
    ((1, 17, 9, 9), (1, 17, 1, 1)),
    ((700, 101), (101,)),
    ((700, 101), (700, 1)),
]


def data(shape, dtype=np.float32):
    if np.dtype(dtype).kind in "iu":
        return rng.integers(1, 100, shape).astype(dtype)
    return np.asarray(rng.uniform(0.5, 4, shape)).astype(dtype)


def exact(function):
    """The function in f64, rounded once; integers wrap around in their own type."""

    def expected(*inputs):
        with np.errstate(all="ignore"):
            if inputs[0].dtype.kind in "iu":
                return np.asarray(function(*inputs), inputs[0].dtype)
            return np.asarray(function(*(x.astype(np.float64) for x in inputs))).astype(inputs[0].dtype)

    return expected


def truncated_division(a, b):
    if a.dtype.kind not in "iu":
        return a / b
    quotient = (
        np.abs(a.astype(object)) // np.abs(b.astype(object)) * np.sign(a.astype(object)) * np.sign(b.astype(object))
    )
    info = np.iinfo(a.dtype)
    return np.array([info.min if q > info.max else q for q in np.ravel(quotient)], a.dtype).reshape(
        np.broadcast_shapes(a.shape, b.shape)
    )


ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": truncated_division}

test_shapes = check([Case(op, [data(a), data(b)], expect=exact(f)) for op, f in ARITHMETIC.items() for a, b in SHAPES])
test_types = check(
    [
        Case(op, [data((2, 3, 5), t), data((3, 1), t)], expect=exact(f))
        for op, f in ARITHMETIC.items()
        for t in FLOATS + SIGNED + UNSIGNED
    ]
)


def edges(dtype):
    info = np.iinfo(dtype)
    values = np.array([info.min, info.max, 0, 1, 7], dtype)
    return np.concatenate([values, np.array([-1, -7], dtype)]) if info.min < 0 else values


test_wrap = check(
    [
        Case(op, [edges(t)[:, None], edges(t)], expect=exact(f))
        for op, f in ARITHMETIC.items()
        if op != "Div"
        for t in SIGNED + UNSIGNED
    ]
    + [
        Case("Div", [edges(t)[:, None], edges(t)[edges(t) != 0]], expect=exact(truncated_division))
        for t in SIGNED + UNSIGNED
    ]
)
test_float_edges = check(
    [
        Case("Div", [np.float32([1, -1, 0, np.inf]), np.float32([0, 0, 0, np.inf])]),
        Case("Max", [np.float32([np.nan, 1, -np.inf]), np.float32([0, np.nan, 5])]),
        Case("Min", [np.float32([np.nan, 1, -np.inf]), np.float32([0, np.nan, 5])]),
        Case("Max", [np.float64([np.nan, 1, 2]), np.float64([0, np.nan, 5])]),
    ]
)
# Quotients of every size and sign, in whole vectors and what is left of them; divisors as arrays and as scalars.
SPREAD = np.concatenate([edges(np.int32), rng.integers(-(2**31), 2**31, 70), rng.integers(-9, 9, 30)]).astype(np.int32)
DIVISORS = SPREAD[SPREAD != 0]


def wide(function):
    return lambda a, b: function(a.astype(np.int64), b.astype(np.int64)).astype(np.int32)


test_int32_division = check(
    [
        Case(op, inputs, attrs, expect=f, id=f"{op}-{attrs}-{id}")
        for op, attrs, f in [
            ("Div", {}, truncated_division),
            ("Mod", {}, wide(np.mod)),
            ("Mod", {"fmod": 1}, wide(np.fmod)),
        ]
        for id, inputs in [
            ("outer", [SPREAD[:, None], DIVISORS]),
            ("column", [np.tile(SPREAD, (3, 1)), DIVISORS[:3, None]]),
            ("row", [SPREAD[:, None], np.tile(DIVISORS, (len(SPREAD), 1))]),
            *((f"by {b}", [SPREAD, np.int32(b)]) for b in [1, -1, 2, 3, -7, 10, 46341, 2**31 - 1, -(2**31)]),
        ]
    ]
)
test_late_zero_divisors = check(
    [
        raises(Case("Div", [np.ones(5000, t), np.append(np.ones(4999, t), t(0))]), "Div 'node'.*zero")
        for t in SIGNED + UNSIGNED
    ]
)
test_division_errors = check(
    [
        raises(Case(op, [np.array([4, 2], t), np.array([2, 0], t)]), f"{op} 'node'.*zero")
        for op in ["Div", "Mod"]
        for t in SIGNED + UNSIGNED
    ]
    + [
        raises(Case("Add", [data((2, 3)), data((2, 4))]), "Add 'node'.*broadcast.*3 against 4"),
        raises(Case("Add", [data((2, 3)), data((3,), np.float64)]), "Add 'node'.*f32"),
    ]
)

signs = np.array([-7, -6, -1, 0, 1, 6, 7])
test_mod = check(
    [
        Case(
            "Mod",
            [signs.astype(t)[:, None], np.array([-3, 3, -1, 5]).astype(t)],
            expect=np.mod(signs.astype(t)[:, None], np.array([-3, 3, -1, 5]).astype(t)),
        )
        for t in SIGNED
    ]
    + [Case("Mod", [data((3, 4), t), data((4,), t)]) for t in UNSIGNED]
    + [
        Case(
            "Mod",
            [signs.astype(t)[:, None], np.array([-3, 3, -1, 5]).astype(t)],
            {"fmod": 1},
            expect=np.fmod(signs.astype(t)[:, None], np.array([-3, 3, -1, 5]).astype(t)),
        )
        for t in SIGNED
    ]
    + [Case("Mod", [data((3, 4), t), data((4,), t)], {"fmod": 1}, expect=exact(np.fmod)) for t in FLOATS]
    + [
        Case(
            "Mod",
            [np.array([-4.5, 4.5, 0.0, -7, 1]), np.array([2.0, -2.0, -3.0, np.inf, np.inf])],
            expect=np.array([1.5, -1.5, -0.0, np.inf, 1]),
        ),
        Case("Mod", [np.array([np.iinfo(np.int64).min]), np.array([-1])], expect=np.array([0])),
        raises(Case("Mod", [signs, signs], {"fmod": 2}), "Mod 'node'.*fmod"),
    ]
)

test_variadic = check(
    [
        Case(op, [data((2, 3), t), data((3,), t), data((4, 1, 1), t)], expect=exact(f))
        for op, f in [
            ("Max", lambda *x: np.maximum(np.maximum(x[0], x[1]), x[2])),
            ("Min", lambda *x: np.minimum(np.minimum(x[0], x[1]), x[2])),
        ]
        for t in FLOATS + SIGNED + UNSIGNED
    ]
    + [
        Case(op, [data((2, 3), t), data((3,), t), data((4, 1, 1), t)], expect=exact(f))
        for op, f in [("Sum", lambda *x: x[0] + x[1] + x[2]), ("Mean", lambda *x: (x[0] + x[1] + x[2]) / 3)]
        for t in FLOATS
    ]
    + [Case(op, [data((2, 3))]) for op in ["Max", "Min", "Sum", "Mean"]]
    + [
        Case(op, [data(()), data((1, 1)), data((5,))], id="scalars-first", expect=exact(lambda *x: sum(x)))
        for op in ["Sum"]
    ]
    + [Case("Sum", [data((3,)), data((3,))], {"consumed_inputs": [0, 0]}, opset=1, expect=exact(np.add))]
)

test_bits = check(
    [
        Case(op, [edges(t)[:, None], edges(t)], expect=f(edges(t)[:, None], edges(t)))
        for op, f in [("BitwiseAnd", np.bitwise_and), ("BitwiseOr", np.bitwise_or), ("BitwiseXor", np.bitwise_xor)]
        for t in SIGNED + UNSIGNED
    ]
    + [Case(op, [np.array([[True], [False]]), np.array([True, False, True])]) for op in ["And", "Or", "Xor"]]
    + [
        Case(
            "BitShift",
            [np.array([1, 4, 255, 8]).astype(t), np.array([1, 2, 3, 0]).astype(t)],
            {"direction": d},
            expect=(np.left_shift if d == "LEFT" else np.right_shift)(
                np.array([1, 4, 255, 8]).astype(t), np.array([1, 2, 3, 0]).astype(t)
            ),
        )
        for d in ["LEFT", "RIGHT"]
        for t in SIGNED + UNSIGNED
    ]
    + [
        Case(
            "BitShift",
            [np.array([1, 255], np.uint8), np.array([8, 200], np.uint8)],
            {"direction": "LEFT"},
            expect=np.zeros(2, np.uint8),
        ),
        Case(
            "BitShift",
            [np.array([-8, -1, 100], np.int8), np.array([1, -1, 8], np.int8)],
            {"direction": "RIGHT"},
            expect=np.array([-4, -1, 0], np.int8),
        ),
        Case(
            "BitShift",
            [np.array([-8, 100], np.int8), np.array([1, -1], np.int8)],
            {"direction": "LEFT"},
            expect=np.array([-16, 0], np.int8),
        ),
        Case("BitShift", [np.array([-1], np.int64), np.array([63])], {"direction": "RIGHT"}, expect=np.array([-1])),
        raises(
            Case("BitShift", [np.array([1], np.uint8), np.array([1], np.uint8)], {"direction": "UP"}),
            "BitShift 'node'.*direction",
        ),
    ]
)

COMPARISONS = {
    "Equal": np.equal,
    "Less": np.less,
    "Greater": np.greater,
    "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal,
}
special = np.array([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan])
test_compare = check(
    [
        Case(op, [rng.integers(0, 3, (4, 5)).astype(t), rng.integers(0, 3, (5,)).astype(t)], expect=f)
        for op, f in COMPARISONS.items()
        for t in FLOATS + SIGNED + UNSIGNED
    ]
    + [
        Case(op, [special.astype(t)[:, None], special.astype(t)], expect=f, id=f"special-{np.dtype(t).name}")
        for op, f in COMPARISONS.items()
        for t in FLOATS
    ]
    + [
        Case(
            "Equal",
            [np.array([["a", "bc"], ["", "d"]], object), np.array(["a", "d"], object)],
            expect=np.array([[True, False], [False, True]]),
        ),
        Case("Equal", [np.array([True, False]), np.array([True, True])]),
        Case("Less", [np.array([-1, 2**62]), np.array([2**62])]),
        Case(
            "Less", [np.array([1, 2**63 + 1], np.uint64), np.array([2**63], np.uint64)], expect=np.array([True, False])
        ),
    ]
)

ANY = [*FLOATS, *SIGNED, *UNSIGNED, np.complex64, np.complex128]
condition = rng.integers(0, 2, (3, 1, 4)).astype(bool)
test_where = check(
    [Case("Where", [condition, data((2, 4), t), data((3, 2, 1), t)], expect=np.where) for t in ANY]
    + [
        Case("Where", [condition, data((3, 1, 4)), np.float32(2)], expect=np.where),
        Case("Where", [condition, np.float32(1), np.float32(2)], expect=np.where, id="scalars"),
        Case("Where", [np.array(True), data((3, 4)), data((3, 4))], expect=np.where),
        Case("Where", [condition, np.array([["a"]], object), np.array("b", object)], expect=np.where, id="strings"),
        Case("Where", [condition, np.array(True), np.array([[False]])], expect=np.where, id="bools"),
        Case("Where", [np.array([True, False]), const([1, 2], np.int64), np.array([3, 4])], expect=np.where),
    ]
)

x = rng.uniform(-3, 3, (4, 7))
positive = np.abs(x)
test_pow = check(
    [Case("Pow", [positive.astype(t), x.astype(t)], expect=exact(np.power)) for t in FLOATS]
    + [Case("Pow", [x.astype(t), const(e, t)], expect=exact(np.power)) for t in FLOATS for e in [2, 3, 1, -1, 0, 4]]
    + [
        Case("Pow", [positive.astype(np.float32), const(e, np.float32)], expect=exact(np.power))
        for e in [0.5, -0.5, 1.5, 2.2]
    ]
    + [
        Case("Pow", [positive.astype(np.float32), const(2, t)], expect=exact(np.power))
        for t in SIGNED + UNSIGNED + [np.float64, np.float16]
    ]
    + [Case("Pow", [positive, rng.integers(0, 4, (7,)).astype(t)], expect=exact(np.power)) for t in SIGNED]
    + [
        Case("Pow", [np.array([2, 3, -2, 0], np.int64), np.array([3, 2, 63, 0])], expect=np.array([8, 9, -(2**63), 1])),
        Case(
            "Pow",
            [np.array([2, 1, -1, -1], np.int32), np.array([-1, -5, -3, -2])],
            expect=np.array([0, 1, -1, 1], np.int32),
        ),
        Case(
            "Pow",
            [np.array([4, 10, 2], np.int32), np.array([0.5, 20, 3.5], np.float32)],
            expect=np.array([2, 2**31 - 1, 11], np.int32),
        ),
        Case(
            "Pow",
            [np.array([-np.inf, -0.0, np.inf, np.nan], np.float32), const(0.5, np.float32)],
            expect=np.array([np.inf, 0, np.inf, np.nan], np.float32),
        ),
        Case("Pow", [np.float32([2, 3]), np.float32([3, 2])], opset=7, expect=np.float32([8, 9])),
    ]
)

x4, row = data((2, 3, 4, 5)), data((3, 4))
test_legacy = check(
    [
        Case("Add", [x4, row], {"broadcast": 1, "axis": 1}, opset=6, expect=x4 + row[:, :, None]),
        Case(
            "Mul",
            [x4, data((2,))],
            {"broadcast": 1, "axis": 0, "consumed_inputs": [0, 0]},
            opset=1,
            expect=lambda a, b: a * b[:, None, None, None],
        ),
        Case("Sub", [x4, data((4, 5))], {"broadcast": 1}, opset=6, expect=exact(np.subtract)),
        Case("Div", [x4, data((3,))], {"broadcast": 1, "axis": -3}, opset=6, expect=lambda a, b: a / b[:, None, None]),
        Case("Less", [x4, data((3,))], {"broadcast": 1, "axis": 1}, opset=1, expect=lambda a, b: a < b[:, None, None]),
        Case("Pow", [x4, x4], opset=1, expect=exact(np.power)),
        raises(Case("Add", [x4, row], {"broadcast": 1, "axis": 3}, opset=6), "Add 'node'.*axis 3"),
    ]
)
