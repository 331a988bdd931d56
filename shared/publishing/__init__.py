"""From staged rows to the files that Power BI reads."""
