"""From what a network says to what is kept: functions over predictions and whole images."""
