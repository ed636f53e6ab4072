# Copyright the RetailFlow authors
# SPDX-License-Identifier: Apache-2.0
"""How the module postgres_setup fails."""

from __future__ import annotations


class SetupError(Exception):
    """What went wrong, in words for the person who runs the play."""
