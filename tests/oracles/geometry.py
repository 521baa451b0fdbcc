"""Figures of a space as loops over pairs of vectors."""

import math


def normalised(x):
    return [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in x]


def squared_distance(a, b):
    return sum((v - w) ** 2 for v, w in zip(a, b, strict=True))


def centroid(x):
    return [sum(column) / len(x) for column in zip(*x, strict=True)]


def modality_gap(a, b):
    return math.sqrt(squared_distance(centroid(a), centroid(b)))


def alignment(a, b, power):
    pairs = zip(normalised(a), normalised(b), strict=True)
    distances = [math.sqrt(squared_distance(u, v)) ** power for u, v in pairs]
    return sum(distances) / len(distances)


def uniformity(x, t):
    v = normalised(x)
    kernel = [math.exp(-t * squared_distance(v[i], v[j])) for i in range(len(v)) for j in range(i)]
    return math.log(sum(kernel) / len(kernel))


def effective_rank(singular_values):
    total = sum(singular_values)
    return math.exp(-sum(s / total * math.log(s / total) for s in singular_values if s > 0))
