"""The dashboard: statistics and five charts, as JSON endpoints and as a page."""
