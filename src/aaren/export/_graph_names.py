"""Names of a graph's tensors, and the length of a chunk; needs nothing, so that runners can tell without PyTorch."""

BEFORE, AFTER = "state.", "next."
"""Before the names of the state that goes in, and of the state that comes out."""
LOW = ".low"
"""After the name of a float64 tensor: the second float32 tensor of its pair, where a runtime has no float64."""
CHUNK = 128
"""Rows of a chunk at most: what is computed grows with its square."""
