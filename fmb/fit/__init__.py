"""One loop for any parameters, with its schedules and losses."""
