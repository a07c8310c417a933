"""A fitted model in the formats of others: an ONNX graph, a Hugging Face folder."""
