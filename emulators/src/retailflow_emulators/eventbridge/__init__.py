"""Emulated EventBridge schedules: what AWS does by itself and the emulated AWS API does not."""
