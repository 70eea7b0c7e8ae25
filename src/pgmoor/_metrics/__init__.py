"""The figures of a manager, for `pgmoor.otel` and `pgmoor.prometheus` to export."""
