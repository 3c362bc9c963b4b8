"""WVA: replica decisions for LLM serving."""
