"""Where a judge is not believed, and why."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.differential import types


def always(case: Any) -> bool:
    return True


def given(*attributes: str) -> Callable[[Any], bool]:
    """The node has one of these attributes."""
    return lambda case: any(name in case.node.attrs for name in attributes)


def of(variable: str, *names: str) -> Callable[[Any], bool]:
    """The type variable has one of these element types."""
    return lambda case: types.element(case.kinds[variable]) in names


def _odd_recurrence(case: Any) -> bool:
    plain = {"hidden_size", "linear_before_reset", "direction", "output_sequence"}
    backward = case.node.attrs.get("direction", "forward") != "forward"
    lengths = len(case.node.inputs) > 4 and case.node.inputs[4] is not None
    return backward or lengths or not set(case.node.attrs) <= plain


def _backwards(case: Any) -> bool:
    return len(case.node.inputs) > 4 and bool((case.node.inputs[4] < 0).any())


def _shows_masked_scores(case: Any) -> bool:
    return case.node.attrs.get("qk_matmul_output_mode", 0) > 0


def _shows_places(case: Any) -> bool:
    return len(case.question.outputs) == 2


def _empty(case: Any) -> bool:
    return np.size(case.node.inputs[0]) == 0


def _per_channel(case: Any) -> bool:
    return np.ndim(case.node.inputs[4]) > 0


def _saves_statistics(case: Any) -> bool:
    return len(case.question.outputs) == 5


def _causal_after_past(case: Any) -> bool:
    return bool(case.node.attrs.get("is_causal")) and len(case.node.inputs) > 4


def _cubic_border(case: Any) -> bool:
    return case.node.attrs.get("padding_mode") == "border" and "cubic" in case.node.attrs.get("mode", "")


def _aligned(case: Any) -> bool:
    return case.node.attrs.get("coordinate_transformation_mode") == "align_corners"


def _floats(case: Any) -> bool:
    return any(types.is_float(case.kinds[variable]) for variable in ("T1", "T2", "T3"))


def _symmetric(case: Any) -> bool:
    return case.node.attrs.get("coordinate_transformation_mode") == "half_pixel_symmetric"


def _mixed(case: Any) -> bool:
    return case.kinds["T1"] != case.kinds["T2"]


def _at_the_end(case: Any) -> bool:
    return len(case.node.inputs) > 2 and int(case.node.inputs[2]) == len(case.node.inputs[0])


def _integers(case: Any) -> bool:
    return types.is_integer(case.question.kinds[0])


def _not_rank_4(case: Any) -> bool:
    return np.ndim(case.node.inputs[0]) != 4


FIRST, LAST = 1, 99

# Judge, operator (a pattern), first and last version of the domain, when it is wrong, and how.
DISTRUSTED: list[tuple[str, str, int, int, Callable[[Any], bool], str]] = [
    ("reference", "[RGL][NRS][NUT]*", FIRST, LAST, _odd_recurrence, "runs default activations forwards only"),
    ("reference", "Loop", FIRST, LAST, always, "concatenates scan outputs instead of stacking them"),
    ("reference", "*[Ss]oftmax", FIRST, 12, always, "knows the axis of version 13 only"),
    ("reference", "Hardmax", FIRST, 12, always, "knows the axis of version 13 only"),
    ("reference", "GlobalMaxPool", FIRST, LAST, _not_rank_4, "reduces other axes where there are not two"),
    ("reference", "AveragePool", FIRST, 6, given("pads", "auto_pad"), "counts the padding, which version 1 excludes"),
    ("reference", "LpPool", FIRST, LAST, always, "takes the mean of what a clipped window holds for its sum"),
    ("reference", "*Pool", FIRST, LAST, given("ceil_mode"), "rounds the number of windows in another way"),
    ("onnxruntime", "Gather", FIRST, LAST, of("T", "string"), "loses strings under negative indices"),
    ("onnxruntime", "Slice", 10, LAST, _backwards, "takes the greatest integer for no end under negative steps"),
    ("onnxruntime", "Attention", FIRST, LAST, _shows_masked_scores, "masks with the lowest number, not infinity"),
    ("onnxruntime", "TfIdfVectorizer", FIRST, LAST, given("weights"), "takes the weights in the order of the outputs"),
    ("onnxruntime", "Reduce*", FIRST, LAST, _empty, "reduces nothing to another shape"),
    ("onnxruntime", "Cast*", FIRST, LAST, of("T1", "bool"), "writes 0 and 1 for bools"),
    ("reference", "Trilu", FIRST, LAST, of("T", "string"), "fills strings with zeros"),
    ("onnxruntime", "Attention", FIRST, LAST, given("softcap"), "adds the mask before the cap"),
    ("reference", "QLinearConv", FIRST, LAST, _per_channel, "does not spread the scales of channels"),
    ("reference", "MaxPool", FIRST, LAST, given("pads", "auto_pad"), "mixes up the pads of two axes"),
    ("reference", "QLinearMatMul", 21, LAST, _floats, "rounds 8-bit floats to integers"),
    ("onnxruntime", "Resize", FIRST, LAST, _aligned, "rounds the new length before it aligns the corners"),
    ("onnxruntime", "Resize", 19, LAST, _symmetric, "finds positions in f32, just beside whole numbers"),
    ("reference", "ConvTranspose", FIRST, LAST, given("group"), "adds up the groups"),
    ("reference", "QuantizeLinear", 23, LAST, _mixed, "divides in the wider type of x and its scale"),
    ("reference", "Cast*", FIRST, LAST, of("T1", "string"), "takes every word but the empty one for true"),
    ("onnxruntime", "BatchNormalization", FIRST, 13, _saves_statistics, "saves the inverse of the deviation"),
    ("onnxruntime", "Attention", FIRST, LAST, _causal_after_past, "hides other keys after a past"),
    ("reference", "GridSample", FIRST, LAST, _cubic_border, "clamps positions, where PyTorch clamps what is read"),
    ("reference", "LRN", FIRST, LAST, always, "counts channels by the batch"),
    ("reference", "BatchNormalization", FIRST, 13, always, "trains by other attributes than outputs"),
    ("reference", "RoiAlign", 10, 15, always, "shifts by half a pixel, as version 16 introduced"),
    ("reference", "Unsqueeze", 11, 12, always, "inserts the axes one after the other, in the order given"),
    ("reference", "Shape", FIRST, LAST, given("start", "end"), "slices as Python does, without clamping"),
    ("reference", "SequenceInsert", FIRST, LAST, _at_the_end, "inserts at the front what belongs at the end"),
    ("reference", "Pad", FIRST, LAST, of("T", "string"), "pads strings with zeros"),
    ("reference", "CenterCropPad", FIRST, LAST, of("T", "string"), "pads strings with zeros"),
    ("reference", "OneHot", FIRST, LAST, always, "computes off + hot * (on - off), which rounds"),
    ("reference", "SVMRegressor", FIRST, LAST, _integers, "computes with integers"),
    ("reference", "LinearRegressor", FIRST, LAST, always, "leaves the result uninitialised without intercepts"),
    ("reference", "SVMClassifier", FIRST, LAST, always, "turns scores to probabilities in another way"),
    ("reference", "TreeEnsemble*", FIRST, LAST, always, "knows neither MIN, MAX, missing values nor mixed modes"),
    ("reference", "DictVectorizer", FIRST, LAST, always, "forgets the first axis"),
    ("reference", "MaxPool", FIRST, LAST, _shows_places, "counts places within a channel"),
    ("reference", "Scaler", FIRST, LAST, _integers, "computes with integers"),
]

# Judges that compute in f32 whatever the type.
SINGLE = {
    ("reference", "Adagrad"), ("reference", "Adam"), ("reference", "AffineGrid"), ("reference", "Attention"),
    ("reference", "BatchNormalization"), ("reference", "DeformConv"), ("reference", "Erf"), ("reference", "Gelu"),
    ("reference", "GridSample"), ("reference", "HardSwish"), ("reference", "Momentum"), ("reference", "Resize"),
    ("onnxruntime", "Attention"), ("onnxruntime", "BlackmanWindow"), ("onnxruntime", "DFT"), ("onnxruntime", "Gelu"),
    ("onnxruntime", "HammingWindow"), ("onnxruntime", "HannWindow"), ("onnxruntime", "Shrink"),
    ("onnxruntime", "TreeEnsemble"),
}  # fmt: skip

# Kinds that a schema names and that no model can hold, by operator and version.
IMPOSSIBLE: dict[tuple[str, int], dict[str, str]] = {}


def distrusted(judge: str, op: str, opset: int, case: Any) -> str | None:
    """Why the judge is not asked about this case, or None."""
    for who, pattern, first, last, when, reason in DISTRUSTED:
        if who == judge and fnmatch.fnmatchcase(op, pattern) and first <= opset <= last and when(case):
            return reason
    return None


# Operators that are not there yet.
MISSING: dict[str, str] = {}


def missing(schema: Any) -> str | None:
    """Why the operator is not tested, or None."""
    return MISSING.get(schema.name)


def impossible(schema: Any, kind: str) -> str | None:
    """Why the kind cannot be drawn for this version, or None."""
    return IMPOSSIBLE.get((schema.name, schema.since_version), {}).get(kind)
