# Copyright the RetailFlow authors
# SPDX-License-Identifier: Apache-2.0
"""What the module metabase_content is made of: `reconciler` uses the others, `errors` uses none."""
