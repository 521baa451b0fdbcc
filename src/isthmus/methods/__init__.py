"""The catalogue: one file per published method, in a folder named after what you hold when it is done."""
