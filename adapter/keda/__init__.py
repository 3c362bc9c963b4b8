"""The KEDA external scaler: decisions over gRPC, pushed as soon as they change."""
