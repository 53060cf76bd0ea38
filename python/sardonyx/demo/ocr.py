"""Reads the text in a picture with a DB text detector and a CTC recogniser (PP-OCR), on NumPy arrays.

Detection: Liao et al., "Real-time Scene Text Detection with Differentiable Binarization", 2020: the model gives the
probability of shrunken text regions; each connected region above a threshold is grown back by area * ratio / perimeter.
Recognition: Graves et al., "Connectionist Temporal Classification", 2006: the best class of each column, repeats
merged, blanks dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx.session import InferenceSession

__all__ = ["TextLine", "TextReader", "connected_regions", "ctc_decode"]

Pixels = npt.NDArray[np.uint8]

_STRIDE = 32  # the detector wants extents that are multiples of it
_REGION_THRESHOLD = 0.3
_BOX_THRESHOLD = 0.5
_UNCLIP_RATIO = 1.6
_LINE_HEIGHT = 48  # rows of the recogniser's input
_LINE_MIN_WIDTH = 320


@dataclass(frozen=True)
class TextLine:
    """A line of text with its box (left, top, right, bottom; pixels) and the mean probability of its characters."""

    text: str
    score: float
    box: tuple[int, int, int, int]


def connected_regions(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.intp]]:
    """The 4-connected regions of a 2-D mask, each as an array [n, 2] of (row, column).

    Horizontal runs are joined with the runs that they touch in the row above (union-find).
    """
    padded = np.pad(mask, ((0, 0), (1, 1)))
    edges = np.diff(padded.astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    parent = list(range(len(rows)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    first_of_row = np.searchsorted(rows, np.arange(mask.shape[0] + 1))
    for row in range(1, mask.shape[0]):
        above, here = int(first_of_row[row - 1]), int(first_of_row[row])
        while above < first_of_row[row] and here < first_of_row[row + 1]:
            if starts[above] < ends[here] and starts[here] < ends[above]:
                parent[root(here)] = root(above)
            if ends[above] < ends[here]:
                above += 1
            else:
                here += 1
    members: dict[int, list[npt.NDArray[np.intp]]] = {}
    for k in range(len(rows)):
        columns = np.arange(starts[k], ends[k])
        members.setdefault(root(k), []).append(np.stack([np.full_like(columns, rows[k]), columns], axis=1))
    return [np.concatenate(parts) for parts in members.values()]


def ctc_decode(probabilities: npt.NDArray[np.floating[Any]], alphabet: list[str]) -> tuple[str, float]:
    """Text and mean probability from [columns, classes]; class 0 is the blank, class k is alphabet[k - 1]."""
    best = probabilities.argmax(axis=1)
    keep = (best != 0) & (best != np.concatenate([[0], best[:-1]]))
    if not keep.any():
        return "", 0.0
    return "".join(alphabet[k - 1] for k in best[keep]), float(probabilities.max(axis=1)[keep].mean())


def _resize(pixels: Pixels, height: int, width: int) -> Pixels:
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _normalized(pixels: Pixels) -> npt.NDArray[np.float32]:
    """[h, w, 3] RGB bytes to [1, 3, h, w] BGR in -1 .. 1."""
    scaled = pixels[:, :, ::-1].astype(np.float32) / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[np.newaxis])


class TextReader:
    """Finds and reads lines of text.

    Args:
        detector: gives [1, 1, h, w] probabilities for [1, 3, h, w] pixels, h and w multiples of 32.
        recogniser: gives [n, columns, classes] probabilities for [n, 3, 48, w] pixels, and carries its alphabet in
            the metadata entry `character`, one character a line.
    """

    def __init__(self, detector: InferenceSession, recogniser: InferenceSession) -> None:
        self._detector = detector
        self._recogniser = recogniser
        characters = recogniser.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._alphabet = [*characters, " "]

    def boxes(self, pixels: Pixels) -> list[tuple[int, int, int, int]]:
        """Boxes (left, top, right, bottom) of the lines in [h, w, 3] RGB bytes, from top to bottom."""
        height, width = pixels.shape[:2]
        rows, columns = (max(_STRIDE, round(size / _STRIDE) * _STRIDE) for size in (height, width))
        probabilities = self._detector.run(None, [_normalized(_resize(pixels, rows, columns))])[0][0, 0]
        boxes = []
        for region in connected_regions(probabilities > _REGION_THRESHOLD):
            top, left = region.min(axis=0)
            bottom, right = region.max(axis=0) + 1
            tall, wide = int(bottom - top), int(right - left)
            score = probabilities[region[:, 0], region[:, 1]].mean()
            if min(tall, wide) < 3 or score < _BOX_THRESHOLD:
                continue
            grow = tall * wide * _UNCLIP_RATIO / (2 * (tall + wide))
            scale_x, scale_y = width / columns, height / rows
            boxes.append(
                (
                    max(0, round((left - grow) * scale_x)),
                    max(0, round((top - grow) * scale_y)),
                    min(width, round((right + grow) * scale_x)),
                    min(height, round((bottom + grow) * scale_y)),
                )
            )
        return sorted(boxes, key=lambda box: (box[1], box[0]))

    def recognise(self, line: Pixels) -> tuple[str, float]:
        """The text of one line of [h, w, 3] RGB bytes, and its mean probability."""
        width = max(1, round(line.shape[1] * _LINE_HEIGHT / line.shape[0]))
        values = _normalized(_resize(line, _LINE_HEIGHT, width))
        padding = max(0, _LINE_MIN_WIDTH - width)
        padded = np.pad(values, ((0, 0), (0, 0), (0, 0), (0, padding)))
        return ctc_decode(self._recogniser.run(None, [padded])[0][0], self._alphabet)

    def read(self, pixels: Pixels) -> list[TextLine]:
        """Every line of text in [h, w, 3] RGB bytes, from top to bottom."""
        lines = []
        for box in self.boxes(pixels):
            text, score = self.recognise(pixels[box[1] : box[3], box[0] : box[2]])
            if text:
                lines.append(TextLine(text, score, box))
        return lines
