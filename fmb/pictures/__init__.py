"""What people look at: sheets, films, the page, the live view."""
