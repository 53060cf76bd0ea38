"""Einsum against NumPy."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, raises

rng = np.random.default_rng(13)


def case(equation, *shapes, dtype=np.float32, opset=None):
    if np.dtype(dtype).kind in "iu":
        inputs = [rng.integers(0, 20, shape).astype(dtype) for shape in shapes]
    else:
        inputs = [np.asarray(rng.standard_normal(shape)).astype(dtype) for shape in shapes]

    def expect(*arrays):
        if np.dtype(dtype).kind in "iu":
            return np.einsum(equation, *(a.astype(np.int64) for a in arrays)).astype(dtype)
        return np.asarray(np.einsum(equation, *(a.astype(np.float64) for a in arrays))).astype(dtype)

    tolerance = {} if np.dtype(dtype).kind in "iu" else {"rtol": {2: 2e-2, 4: 2e-5, 8: 1e-12}[np.dtype(dtype).itemsize]}
    if tolerance:
        tolerance["atol"] = tolerance["rtol"]
    return Case(
        "Einsum",
        inputs,
        {"equation": equation},
        expect=expect,
        opset=opset,
        id=f"{equation}-{np.dtype(dtype).name}-{opset}",
        **tolerance,
    )


test_equations = check(
    [
        case("ij->ji", (3, 4)),
        case("ij", (3, 4)),
        case("ji", (3, 4)),
        case("ii->i", (5, 5)),
        case("ii", (5, 5)),
        case("iij->ji", (4, 4, 3)),
        case("ij->", (3, 4)),
        case("ij->j", (3, 4)),
        case("i,i", (5,), (5,)),
        case("i,j->ij", (5,), (4,)),
        case("ij,jk->ik", (3, 4), (4, 5)),
        case("ij,kj->ik", (3, 4), (5, 4)),
        case("ji,jk->ki", (4, 3), (4, 5)),
        case("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
        case("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)),
        case("bihd,bjhd->bhij", (2, 4, 3, 5), (2, 6, 3, 5)),
        case("...ij,...jk->...ik", (2, 3, 4, 5), (5, 6)),
        case("...ij,...jk->...ik", (3, 4, 5), (2, 1, 5, 6)),
        case("...ij,...jk", (3, 4, 5), (3, 5, 6)),
        case("i...->...", (3, 4, 5)),
        case("...->...", (3, 4)),
        case("ij,jk,kl->il", (3, 4), (4, 5), (5, 6)),
        case("i,ij,j", (3,), (3, 4), (4,)),
        case("ijk->ik", (3, 40, 20)),
        case("ijk->ki", (3, 40, 20)),
        case("ijkl->li", (3, 4, 5, 6)),
        case("iijk->jk", (4, 4, 5, 6)),
        case("ijk->", (3, 0, 4)),
        case("ijk->k", (3, 0, 4)),
        case("ij,jk->ik", (3, 0), (0, 5)),
        case("ij,ij->ij", (3, 4), (3, 4)),
        case("ij,ij->", (3, 4), (3, 4)),
        case("bihd,bjhd->bijh", (2, 4, 3, 5), (2, 6, 3, 5)),
        case("dhi,jhd->hij", (5, 3, 4), (6, 3, 5)),
        case("bhij,bjhd->bihd", (2, 3, 4, 6), (2, 6, 3, 5)),
        case("abcd,ecd->abe", (2, 3, 4, 5), (6, 4, 5)),
        case("abcd,edc->abe", (2, 3, 4, 5), (6, 5, 4)),
        case("aij,ajk->k", (2, 3, 4), (2, 4, 5)),
        case("abc,cd,def->abef", (2, 3, 4), (4, 5), (5, 6, 2)),
        case("ab,ab->ab", (3, 4), (3, 4)),
        case("ab,ab->", (3, 4), (3, 4)),
        case("abc,abd->acd", (2, 3, 4), (2, 3, 5)),
        case("ij , jk -> ik", (3, 4), (4, 5)),
        case("aB,Bc->ac", (3, 4), (4, 5)),
        case("ab,bc->ac", (3, 1), (1, 5)),
        case("ab,bc->ac", (0, 4), (4, 5)),
        case("ab,bc->ac", (3, 0), (0, 5)),
        case("i,i->i", (1,), (5,)),
        case("ab,cd->", (2, 3), (4, 5)),
        case(",ab->ab", (), (2, 3)),
    ]
)
test_types = check(
    [
        case("bij,bkj->bik", (2, 3, 4), (2, 5, 4), dtype=t)
        for t in (
            np.float64,
            np.float16,
            ml_dtypes.bfloat16,
            np.int8,
            np.uint8,
            np.int16,
            np.uint16,
            np.int32,
            np.uint32,
            np.int64,
            np.uint64,
        )
    ]
    + [case("ij,jk->ik", (3, 4), (4, 5), opset=12)]
)
test_errors = check(
    [
        raises(case("ij,jk->ik", (3, 4)), "operands"),
        raises(
            Case("Einsum", [np.zeros((3, 4), np.float32)] * 2, {"equation": "ij,jk->ik"}, id="extents"),
            "(broadcast|extent)",
        ),
        raises(Case("Einsum", [np.zeros((3, 4), np.float32)], {"equation": "i->i"}, id="labels"), "labels"),
        raises(Case("Einsum", [np.zeros((3, 4), np.float32)], {"equation": "ij->ijk"}, id="output"), "no operand"),
        raises(Case("Einsum", [np.zeros((3, 4), np.float32)], {"equation": "i1->i"}, id="letter"), "letters"),
    ]
)
