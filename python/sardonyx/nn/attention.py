"""Attention with several heads, and the transformer's encoder layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sardonyx.errors import InvalidArgument
from sardonyx.graph.tensor import Tensor, apply, apply_all, as_tensor, constant, variable
from sardonyx.nn import init
from sardonyx.nn.init import Rng
from sardonyx.nn.linear import Dropout, Linear, linear
from sardonyx.nn.module import Module
from sardonyx.nn.norm import LayerNorm

__all__ = ["MultiheadAttention", "TransformerEncoderLayer"]


def _thirds(packed: Tensor) -> list[Tensor]:
    return apply_all("Split", [packed], {"axis": 0, "num_outputs": 3}, outputs=3)


class MultiheadAttention(Module):
    """softmax(Q K' / sqrt(d)) V in several heads (Vaswani et al. 2017).

    Args:
        dropout: of the attention's weights.
        batch_first: whether sequences are [n, length, embed_dim] and not [length, n, embed_dim].

    Attributes:
        in_proj_weight: [3 embed_dim, embed_dim], for queries, keys and values; Xavier uniform.
        in_proj_bias: [3 embed_dim], zeros; None without bias.
        out_proj: a Linear.

    Example:
        >>> x = np.ones((2, 5, 8), np.float32)
        >>> y, weights = MultiheadAttention(8, 2, batch_first=True)(x, x, x)
        >>> y.numpy().shape, weights.numpy().shape
        ((2, 5, 8), (2, 5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        *,
        rng: Rng = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise InvalidArgument(f"embed_dim {embed_dim} cannot be cut into {num_heads} heads")
        source = init.generator(rng)
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        self.in_proj_weight = variable(init.xavier_uniform((3 * embed_dim, embed_dim), rng=source))
        self.in_proj_bias = variable(init.zeros([3 * embed_dim])) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, rng=source)
        if self.out_proj.bias is not None:
            self.out_proj.bias.assign(init.zeros([embed_dim]))
        self.dropout = Dropout(dropout)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends from `query` to `key`, and takes `value` in that proportion.

        Args:
            key_padding_mask: bool [n, length of key]: True where a key does not count.
            need_weights: whether to return the weights.
            attn_mask: [queries, keys] or one that can be broadcast to [n, heads, queries, keys]: bool, True where
                a query must not look; or numbers that are added.
            average_attn_weights: whether weights are the mean over heads.

        Returns:
            The result, shaped like `query`, and weights [n, queries, keys] ([n, heads, queries, keys] if not averaged).
        """
        if self.batch_first:
            projected = self._project(query, key, value)
        else:
            same = key is query and value is query
            q = query.transpose(1, 0, 2)
            projected = self._project(q, q if same else key.transpose(1, 0, 2), q if same else value.transpose(1, 0, 2))
        q, k, v = projected
        mask = self._mask(attn_mask, key_padding_mask)
        attend = self._spelled if self.dropout.training and self.dropout.p else self._attend
        attended, weights = attend(q, k, v, mask, need_weights)
        y = self.out_proj(attended)
        y = y if self.batch_first else y.transpose(1, 0, 2)
        if weights is None:
            return y, None
        return y, weights.mean(1) if average_attn_weights else weights

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attention as one operator, and its weights."""
        heads = self.num_heads
        attributes = {"q_num_heads": heads, "kv_num_heads": heads, "scale": 1 / math.sqrt(self.embed_dim // heads)}
        inputs = [q, k, v] if mask is None else [q, k, v, mask]
        if not need_weights:
            return apply_all("Attention", inputs, attributes)[0], None
        outputs = apply_all("Attention", inputs, {**attributes, "qk_matmul_output_mode": 3}, outputs=4)
        return outputs[0], outputs[3]

    def _spelled(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The same with dropout of the weights."""
        size = self.embed_dim // self.num_heads
        q, k, v = (x.reshape([0, 0, self.num_heads, size]) for x in (q, k, v))
        scores = apply("MatMul", q.transpose(0, 2, 1, 3), k.transpose(0, 2, 3, 1))
        scores = apply("Mul", scores, constant(1 / math.sqrt(size), dtype=q.dtype))
        if mask is not None and mask.dtype == np.bool_:
            scores = apply("Where", mask, scores, constant(-np.inf, dtype=q.dtype))
        elif mask is not None:
            scores = apply("Add", scores, mask)
        weights = apply("Softmax", scores, axis=-1)
        attended = apply("MatMul", self.dropout(weights), v.transpose(0, 2, 1, 3))
        return attended.transpose(0, 2, 1, 3).reshape([0, 0, self.embed_dim]), weights if need_weights else None

    def _mask(self, attn_mask: Tensor | None, key_padding_mask: Tensor | None) -> Tensor | None:
        """Both masks as one: bool, True where a query looks; or numbers that are added."""
        mask = None if attn_mask is None else as_tensor(attn_mask)
        if mask is not None and mask.dtype == np.bool_:
            mask = apply("Not", mask)
        if key_padding_mask is None:
            return mask
        counts = apply("Not", as_tensor(key_padding_mask)).unsqueeze(1, 2)
        if mask is None:
            return counts
        if mask.dtype == np.bool_:
            return apply("And", mask, counts)
        return apply("Where", counts, mask, constant(-np.inf, dtype=mask.dtype))

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Queries, keys and values, [n, length, embed_dim] each: one product where they come from one tensor."""
        if key is query and value is query:
            packed = linear(query, self.in_proj_weight, self.in_proj_bias)
            return apply_all("Split", [packed], {"axis": -1, "num_outputs": 3}, outputs=3)
        weights = _thirds(self.in_proj_weight)
        biases = [None] * 3 if self.in_proj_bias is None else _thirds(self.in_proj_bias)
        return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases)]

    def extra_repr(self) -> str:
        """See Module.extra_repr."""
        return f"{self.embed_dim}, {self.num_heads}, batch_first={self.batch_first}"


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: apply("Relu", x),
    "gelu": lambda x: apply("Gelu", x),
}


class TransformerEncoderLayer(Module):
    """Attention of a sequence to itself and two linear layers, each with a sum and a normalization.

    Args:
        activation: relu, gelu, or a function of a tensor.
        norm_first: whether to normalize before attention and linear layers and not after.

    Example:
        >>> layer = TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
        >>> layer(np.ones((2, 5, 8), np.float32)).numpy().shape
        (2, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        rng: Rng = None,
    ) -> None:
        super().__init__()
        if isinstance(activation, str) and activation not in _ACTIVATIONS:
            raise InvalidArgument(f"activation is '{activation}'; {', '.join(_ACTIVATIONS)} or a function expected")
        source = init.generator(rng)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first, rng=source)
        self.linear1 = Linear(d_model, dim_feedforward, bias, rng=source)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, rng=source)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.norm_first = norm_first
        self._activation = _ACTIVATIONS[activation] if isinstance(activation, str) else activation

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None
    ) -> Tensor:
        """src: [length, n, d_model], or batch first; masks as in MultiheadAttention."""

        def attend(x: Tensor) -> Tensor:
            y = self.self_attn(x, x, x, key_padding_mask=src_key_padding_mask, need_weights=False, attn_mask=src_mask)[
                0
            ]
            return self.dropout1(y)  # type: ignore[no-any-return]

        def feed(x: Tensor) -> Tensor:
            hidden = self.dropout(self._activation(self.linear1(x)))
            return self.dropout2(self.linear2(hidden))  # type: ignore[no-any-return]

        if self.norm_first:
            x = apply("Add", src, attend(self.norm1(src)))
            return apply("Add", x, feed(self.norm2(x)))
        x = self.norm1(apply("Add", src, attend(src)))
        return self.norm2(apply("Add", x, feed(x)))  # type: ignore[no-any-return]
