"""What a model learned about its classes, stored and queried without samples and without torch."""
