"""Pictures: colours, plots of a run, and contact sheets of views."""
