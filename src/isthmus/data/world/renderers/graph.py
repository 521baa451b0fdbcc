"""The scene graph: what there is, with all attributes, and how it stands to each other."""

import json
from dataclasses import asdict
from typing import Any

from isthmus.data.world.scene import Object, Scene

__all__ = ["KIND", "TITLE", "render", "show"]

TITLE, KIND = "scene graph", "graph"


def render(scene: Scene) -> dict[str, Any]:
    """Return ``nodes``, one an entity with all its attributes, and ``edges``: subject, relation, object."""
    nodes = [{"name": one.shape if isinstance(one, Object) else "person", **asdict(one)} for one in scene.entities]
    return {"nodes": nodes, "edges": [[r.subject, r.name, r.object] for r in scene.relations]}


def show(scene: Scene, size: int) -> str:
    """Return the graph in short."""
    graph = render(scene)
    names = [
        f"{i}: {n['size']} {n['colour']} {n['material']} {n['name']}"
        if n["name"] != "person"
        else f"{i}: person, {n['pose']}"
        for i, n in enumerate(graph["nodes"])
    ]
    edges = [f"{a} {name} {b}" for a, name, b in graph["edges"] if a < b]
    return "\n".join([*names, "; ".join(edges), f"({len(json.dumps(graph)):,} characters of JSON)"])
