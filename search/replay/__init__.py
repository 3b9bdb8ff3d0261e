"""What was recorded, run again."""
