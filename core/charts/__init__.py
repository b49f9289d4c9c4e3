"""What is drawn: colours, curves, and figures that are interactive, live or printed."""
