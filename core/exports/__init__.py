"""What leaves the app: tables, figures, a report, everything of a run in one file."""
