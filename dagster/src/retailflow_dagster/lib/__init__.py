"""Clients and logic that the definitions share; nothing here is an asset."""
