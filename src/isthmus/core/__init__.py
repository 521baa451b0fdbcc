"""The frame: what a method is, what a run returns, how both are found. Imports nothing else of Isthmus."""
