"""What an enlarged picture has that its input has not: maps, sources added, lost and moved, a report."""
