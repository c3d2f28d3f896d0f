"""What the configs of one kind of task share."""
