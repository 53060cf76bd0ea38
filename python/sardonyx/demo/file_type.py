"""Names the type of a file from its bytes with the Magika model.

Features, as the model's configuration documents them: the first `beg_size` bytes after leading white space and the last
`end_size` bytes before trailing white space, out of blocks of `block_size` bytes at either end; what is missing is
`padding_token`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx.session import InferenceSession

__all__ = ["FileTyper"]


class FileTyper:
    """Tells the types of files.

    Args:
        session: gives [n, labels] probabilities for int32 [n, beg_size + end_size].
        config: the JSON file that comes with the model.
    """

    def __init__(self, session: InferenceSession, config: Path) -> None:
        self._session = session
        self._config: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))

    def features(self, content: bytes) -> npt.NDArray[np.int32]:
        """The int32 features of a file's content, [beg_size + end_size]."""
        config = self._config
        begin = content[: config["block_size"]].lstrip()[: config["beg_size"]]
        end = content[-config["block_size"] :].rstrip()[-config["end_size"] :]
        features = np.full(config["beg_size"] + config["end_size"], config["padding_token"], np.int32)
        features[: len(begin)] = np.frombuffer(begin, np.uint8)
        features[len(features) - len(end) :] = np.frombuffer(end, np.uint8)
        return features

    def classify(self, contents: list[bytes]) -> list[tuple[str, float]]:
        """Label and probability for the content of each file; `txt` or `unknown` where the model is not sure."""
        config = self._config
        probabilities = self._session.run(None, [np.stack([self.features(content) for content in contents])])[0]
        answers = []
        for content, row in zip(contents, probabilities, strict=True):
            label, score = config["target_labels_space"][int(row.argmax())], float(row.max())
            sure = score >= config["thresholds"].get(label, config["medium_confidence_threshold"])
            if not content:
                answers.append(("empty", 1.0))
            elif len(content.strip()) >= config["min_file_size_for_dl"] and sure:
                answers.append((config["overwrite_map"].get(label, label), score))
            else:
                answers.append(("txt" if _is_text(content) else "unknown", score))
        return answers


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
