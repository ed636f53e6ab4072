"""Airbyte: what the syncs write into RAW."""
