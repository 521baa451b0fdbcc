"""Bricks that two or more methods use. They never import a method."""
