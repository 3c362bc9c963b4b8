"""What is told to the cluster of a decision: events, and the status of variants. Leader alone."""
