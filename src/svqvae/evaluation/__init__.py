"""Evaluation of models: cross-validation beside plain classifiers, leakage, held-out and simulation quality."""
