"""The runner: a trained model on numpy and the standard library alone; an export holds a copy of these files.

Each file holds one of the equations or one of the rules: `_attention` and `_encoder` are the paper's, the files named
after the kinds of models are their inputs and heads, `_front*` turn rows into the inputs of a step.
"""
