"""Activations f as their ratio f(u)/u, which is what a frozen activation multiplies by.

Each function returns the ratio with its limit at u = 0, computed without a division wherever the formula allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from ggufjac.quants.memory.devices import widened

#: u -> f(u)/u, elementwise.
Ratio: TypeAlias = "Callable[[Tensor], Tensor]"


def silu(u: Tensor) -> Tensor:
    """f(u) = u sigmoid(u)."""
    return torch.sigmoid(u)


def gelu(u: Tensor) -> Tensor:
    """The tanh form of GELU (Hendrycks and Gimpel, arXiv 1606.08415), which GGUF models mean by GELU."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * u * (1 + 0.044715 * u * u)))


def gelu_table(u: Tensor) -> Tensor:
    """GELU as llama.cpp's CPU backend reads it: argument and value rounded to float16 (ggml's vec.h).

    The table is made in float32, where 1 + tanh loses digits; tanh itself is rounded once.
    """
    half = u.to(torch.float16).float()
    inner = math.sqrt(2 / math.pi) * half * (1 + 0.044715 * half * half)
    value = half * (0.5 * (1 + torch.tanh(widened(inner)).to(half)))
    return tabulated_ratio(u, value.to(torch.float16))


def tabulated_ratio(u: Tensor, value: Tensor) -> Tensor:
    """value / u for a GELU whose value was found in the table, which serves -10 < u < 10 alone."""
    value = torch.where(u <= -10, torch.zeros_like(u), torch.where(u >= 10, u, value.to(u)))
    return torch.where(u == 0, torch.full_like(u, 0.5), value / u)


def softcap(limit: float) -> Ratio:
    """f(u) = limit tanh(u / limit)."""

    def ratio(u: Tensor) -> Tensor:
        scaled = u / limit
        return torch.where(u == 0, torch.ones_like(u), torch.tanh(scaled) / scaled)

    return ratio


def clamp(limit: float) -> Ratio:
    """f(u) = u limited to [-limit, limit]."""

    def ratio(u: Tensor) -> Tensor:
        return limit / u.abs().clamp(min=limit)

    return ratio


def oai_swish(alpha: float, limit: float) -> Ratio:
    """f(u) = min(u, limit) sigmoid(alpha min(u, limit)): the gate of gpt-oss."""

    def ratio(u: Tensor) -> Tensor:
        return limit / u.clamp(min=limit) * torch.sigmoid(alpha * u.clamp(max=limit))

    return ratio


def relu(u: Tensor) -> Tensor:
    """f(u) = max(u, 0)."""
    return (u > 0).to(u)


def limited_silu(limit: float) -> Ratio:
    """f(u) = min(u sigmoid(u), limit)."""

    def ratio(u: Tensor) -> Tensor:
        return torch.sigmoid(u).minimum(limit / u.clamp(min=limit))

    return ratio


def relu_squared(u: Tensor) -> Tensor:
    """f(u) = max(u, 0)^2 (So et al., arXiv 2109.08668)."""
    return u.clamp(min=0)


def xielu(alpha_n: float, alpha_p: float, beta: float, eps: float) -> Ratio:
    """f(u) = alpha_p u^2 + beta u where u > 0, else alpha_n (exp(min(u, eps)) - 1 - u) + beta u (arXiv 2411.13010).

    eps is a negative number close to 0. Exactly at 0, where f jumps by about alpha_n eps, the ratio is beta.
    """

    def ratio(u: Tensor) -> Tensor:
        below = u.clamp(max=0)
        bent = alpha_n * (torch.expm1(below.clamp(max=eps)) - below)
        negative = torch.where(u < 0, bent / torch.where(u < 0, u, torch.ones_like(u)), torch.zeros_like(u))
        return beta + alpha_p * u.clamp(min=0) + negative

    return ratio
