"""From settings to results: one run, the sweep over rows of tables, and the table of what came out."""
