"""The viewer: its template and script, and niivue with its licence."""
