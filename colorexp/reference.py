"""iColoriT written the plain way, apart from ours: what it is checked against, and what its speed is compared with.

Every step is eager: attention is a softmax over explicit logits, and the relative position bias is gathered at every call through a
table of indices. It reads the state dict of `IColoriT` and colours pictures of the size it is made for only.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class ReferenceIColoriT:
    """`IColoriT` from its state dict; called with (B, 4, size, size), it gives ab_n (B, 2, size, size)."""

    def __init__(self, state: dict[str, Tensor], *, size: int = 224) -> None:
        self.state = {name: tensor.detach() for name, tensor in state.items()}
        self.width, _, self.patch, _ = state["embed.proj.weight"].shape
        self.side = size // self.patch
        self.heads = state["blocks.0.attention.table"].shape[1]
        self.depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
        self.positions = torch.tensor(self._positions(), dtype=torch.float32)
        self.index = torch.tensor(self._index())

    def _positions(self) -> np.ndarray:
        table = np.zeros((self.side**2, self.width))
        for column in range(self.width):
            angle = np.arange(self.side**2) / np.power(10000, 2 * (column // 2) / self.width)
            table[:, column] = np.cos(angle) if column % 2 else np.sin(angle)
        return table

    def _index(self) -> np.ndarray:
        row, col = np.divmod(np.arange(self.side**2), self.side)
        return (row[:, None] - row + self.side - 1) * (2 * self.side - 1) + (col[:, None] - col + self.side - 1)

    def _of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.state[f"{name}.weight"], self.state[f"{name}.bias"]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (self.width,), *self._of(name), 1e-6)

    def _attention(self, x: Tensor, name: str) -> Tensor:
        batch, count, _ = x.shape
        q_bias, v_bias = self.state[f"{name}.q_bias"], self.state[f"{name}.v_bias"]
        bias = torch.cat([q_bias, torch.zeros_like(v_bias), v_bias])
        qkv = F.linear(x, self.state[f"{name}.qkv.weight"], bias)
        q, k, v = qkv.reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        logits = (q / q.shape[-1] ** 0.5) @ k.transpose(2, 3)
        between = self.state[f"{name}.table"][self.index.flatten()].view(count, count, self.heads)
        weight = torch.softmax(logits + between.permute(2, 0, 1), dim=-1)
        return F.linear((weight @ v).transpose(1, 2).reshape(batch, count, -1), *self._of(f"{name}.proj"))

    def __call__(self, x: Tensor) -> Tensor:
        tokens = F.conv2d(x, *self._of("embed.proj"), stride=self.patch)
        tokens = tokens.flatten(2).transpose(1, 2) + self.positions
        for i in range(self.depth):
            tokens = tokens + self._attention(self._norm(tokens, f"blocks.{i}.norm1"), f"blocks.{i}.attention")
            hidden = F.linear(self._norm(tokens, f"blocks.{i}.norm2"), *self._of(f"blocks.{i}.feedforward.fc1"))
            tokens = tokens + F.linear(F.gelu(hidden), *self._of(f"blocks.{i}.feedforward.fc2"))
        maps = self._norm(tokens, "norm").transpose(1, 2).reshape(-1, self.width, self.side, self.side)
        values = F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="reflect"), *self._of("head.conv")).tanh()
        values = values.view(-1, self.patch, self.patch, 2, self.side, self.side).permute(0, 3, 4, 1, 5, 2)
        return values.reshape(-1, 2, self.side * self.patch, self.side * self.patch)
