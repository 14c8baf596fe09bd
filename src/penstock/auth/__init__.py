"""Who somebody is and what they may do: keys, URLs that carry a right, browsers, quotas. Knows no run and no socket."""
