"""What the router does otherwise, and why that stands: of each such case what comes, and the reason."""

KNOWN = {}
