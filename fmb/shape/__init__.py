"""From masks to a mixture."""
