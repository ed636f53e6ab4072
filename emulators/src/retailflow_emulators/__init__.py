"""Embedded and emulated stand-ins for the services that RetailFlow deploys, one subpackage each.

They speak the protocols of the products, for clients that do not know the difference, and say
*embedded* or *emulated* wherever a person reads.
"""
