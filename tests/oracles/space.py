"""The steps of a map as loops over the numbers of one item."""

import math


def run(steps, tensors, x, mask=None):
    """Return the result for one item: `x` is a vector, or a list of token vectors with `mask`."""
    tokens = [list(t) for t in x] if mask is not None else [list(x)]
    for step in steps:
        if step["op"] == "masked_mean":
            kept = [t for t, m in zip(tokens, mask, strict=True) if m]
            tokens = [[sum(column) / len(kept) for column in zip(*kept, strict=True)]]
        else:
            tokens = [one(step, tensors, t) for t in tokens]
    return tokens[0]


def one(step, tensors, x):
    name = step["op"]
    if name == "centre":
        return [a - b for a, b in zip(x, tensors[step["mean"]], strict=True)]
    if name == "scale":
        factor = step["factor"]
        factors = tensors[factor] if isinstance(factor, str) else [factor] * len(x)
        return [a * b for a, b in zip(x, factors, strict=True)]
    if name == "linear":
        y = [sum(w * a for w, a in zip(row, x, strict=True)) for row in tensors[step["weight"]]]
        return [a + b for a, b in zip(y, tensors[step["bias"]], strict=True)] if "bias" in step else y
    if name == "layernorm":
        mean = sum(x) / len(x)
        variance = sum((a - mean) ** 2 for a in x) / len(x)
        y = [(a - mean) / math.sqrt(variance + step.get("eps", 1e-5)) for a in x]
        y = [a * b for a, b in zip(y, tensors[step["weight"]], strict=True)] if "weight" in step else y
        return [a + b for a, b in zip(y, tensors[step["bias"]], strict=True)] if "bias" in step else y
    if name == "gelu":
        return [a * 0.5 * (1 + math.erf(a / math.sqrt(2))) for a in x]
    if name == "relu":
        return [max(a, 0.0) for a in x]
    if name == "residual":
        y = x
        for inner in step["steps"]:
            y = one(inner, tensors, y)
        return [a + b for a, b in zip(x, y, strict=True)]
    assert name == "normalise"
    length = math.sqrt(sum(a * a for a in x))
    return [a / length for a in x] if length else x
