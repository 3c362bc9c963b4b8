"""Made by `make proto` from `adapter/keda/externalscaler.proto`; don't edit."""
