"""Losses: functions of arrays and a validity mask."""
