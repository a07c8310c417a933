"""From data to a fitted model: survey, training, measurement, run folder, annotation."""
