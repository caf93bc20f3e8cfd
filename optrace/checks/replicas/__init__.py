"""Whether ranks that train replicas of one model still agree: which moments answer to each other, what differs."""
