"""penstock behind real proxies, configured as the documentation says, and as it warns against."""
