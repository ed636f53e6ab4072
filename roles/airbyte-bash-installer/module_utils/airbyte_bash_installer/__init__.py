# Copyright the RetailFlow authors
# SPDX-License-Identifier: Apache-2.0
"""What the modules for Airbyte are made of: `workspace` and `refresh` use the others, `errors` uses none."""
