"""Data comes in: files to AnnData or arrays. Nothing here loads torch."""
