# Copyright the RetailFlow authors
# SPDX-License-Identifier: Apache-2.0
"""What the module postgres_setup is made of: `setup` uses the others, `errors` uses none."""
