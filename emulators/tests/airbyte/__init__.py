"""Tests of embedded Airbyte."""
