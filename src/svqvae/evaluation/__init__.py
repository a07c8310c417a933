"""How good a model is: cross-validation beside plain methods, leakage, held-out and simulation quality."""
