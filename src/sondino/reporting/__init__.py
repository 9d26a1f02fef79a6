"""HTML reports: figures, tables and maps of what runs and evaluations wrote."""
