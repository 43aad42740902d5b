"""One loop that fits any parameters, its schedules and losses."""
