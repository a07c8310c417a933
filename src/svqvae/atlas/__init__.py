"""What remains after learning: what the model knows of its classes, in numpy, scipy and pandas."""
