"""The page of a run: images, costs, plates."""
