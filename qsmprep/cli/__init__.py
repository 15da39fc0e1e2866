"""Command line: argument parser, participant and group runs, exit codes."""
