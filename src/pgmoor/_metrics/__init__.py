"""The figures of a manager, for whatever exports them: `pgmoor.otel` and `pgmoor.prometheus`."""
