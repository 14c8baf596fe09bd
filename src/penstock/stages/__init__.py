"""What may stand between a source and its run. A stage wraps a source and is a source again."""
