"""Where several memories are made to agree."""
