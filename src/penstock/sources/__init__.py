"""Where events come from. A source may not know who reads it."""
