"""Softmax attention that trains in parallel and streams in constant memory."""
