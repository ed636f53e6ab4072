"""Embedded dashboard server: the slice of Metabase's HTTP API that RetailFlow's role calls, and pages that draw it."""
